"""An examination of a model's maps: one stage a file, and the runner."""
