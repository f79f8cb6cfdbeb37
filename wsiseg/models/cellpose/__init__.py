"""Cellpose's networks: those of cellpose 3 (small, two channels) and Cellpose-SAM of cellpose 4.

A model is a file of weights as cellpose saves them (``cellpose:NAME`` finds it in cellpose's own
folder of models), or a folder with a ``cellpose.toml`` that names one and says how to use it::

    weights = "my_nuclei"           # a file beside this one, or "cellpose:nuclei"
    illumination = "fluorescence"   # or "brightfield", the default
    diameter_um = 9                 # of the objects, 8 by default; or mpp = 0.5
    channels = [0, 0]               # for cellpose 3 in brightfield, see below
    cellprob_threshold = 0.0
    flow_threshold = 0.4
    licence = "Apache-2.0"          # SPDX; of the weights, and
    data_licence = "CC0-1.0"        # of the data they were trained on
    trained_on = ["our slides"]

Networks of cellpose 3 see haematoxylin, bright on dark, in brightfield, unless ``channels`` names
two as cellpose does: 0 grey, 1 red, 2 green, 3 blue; 0 in the second place is none. Those of
cellpose 4 see the colours as they are.

The pixel size follows from the diameter that the network was trained for: 17 px for ``nuclei``,
30 px for the others, or what a file of weights says of itself.

Only plain tensors are read from a file (``weights_only``); which of the two generations can run
hangs on the cellpose that is installed.
"""
