"""Why the network says so: attribution maps in logits, on the network's own grid."""
