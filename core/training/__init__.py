"""Training as the study did it, better and faster: a configuration, a run on disk, and facts as they come."""
