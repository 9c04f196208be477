"""Trained weights to the ONNX file the app runs, with its contract inside."""
