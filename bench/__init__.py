"""This project beside its peers, in one run on one machine. Ratios travel; absolute figures do not."""
