"""StarDist 2D models as their makers publish them, read without TensorFlow.

Schmidt, Weigert, Broaddus and Myers: Cell Detection with Star-Convex Polygons, MICCAI 2018.
"""
