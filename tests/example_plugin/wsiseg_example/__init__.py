"""One plug-in of each kind: a reader, a segmenter, a set of features, an exporter."""
