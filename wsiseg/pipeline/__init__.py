"""The pipeline of one slide: plan, feed, steps."""
