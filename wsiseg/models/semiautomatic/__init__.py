"""The semi-automatic tools of the trade as models without weights.

``otsu``, ``local-threshold``, ``watershed``, ``region-growing`` and ``active-contours``, each for
haematoxylin (``-he``) and for a fluorescent nuclear stain (``-fluo``), as a technician would run
them by hand, so that they can be compared with manual and automatic segmentations. They look at one
integer image (:mod:`wsiseg.models.signals`) and at one threshold, Otsu's over all samples of a
slide. A nucleus hangs on the connected clump that it lies in, and comes out the same in every
window that holds the clump; contours, which are slow, are taken from windows that cut the clump,
too, and are therefore outside the exact class.
"""
