"""Very many images: measured by several processes or machines, resumable, nothing lost."""
