"""The run directory: where everything lies, and how it is committed and read back.

::

    OUT/manifest.json            what the run is: job, versions, slides and their state
    OUT/run.lock                 the driver that works here, while it does
    OUT/slides/NAME/plan.json    what will be done to the slide, its segment key
    OUT/slides/NAME/tissue.npz   the tissue mask with reason codes
    OUT/slides/NAME/blocks/      one file of columns a committed block of candidates
    OUT/slides/NAME/cells/       the stitched cells in parts, with an index
    OUT/slides/NAME/...          the exports and report.json
"""
