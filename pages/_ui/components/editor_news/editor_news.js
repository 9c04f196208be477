// Hands what the server says to the editor. It is a component of its own, so that the editor's message, which carries
// the image, stays the same and travels once. An editor that comes later finds the last news on the window.

export default function ({ data }) {
  window.leukoscopeEditorNews = data;
  window.dispatchEvent(new CustomEvent("leukoscope-editor-news", { detail: data }));
}
