"""What knows both frameworks: weights go from one twin to the other."""
