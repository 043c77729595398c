"""From arrays to what a person sees: pictures and charts, without a user interface."""
