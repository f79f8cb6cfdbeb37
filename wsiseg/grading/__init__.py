"""What nuclear grades look at, measured: size, shape, darkness and crowding of nuclei.

For research. The grades themselves are read by pathologists:

- *Nottingham* nuclear pleomorphism (Elston and Ellis, Histopathology 19, 1991) compares nuclei
  with those of normal breast epithelium: 1, small, regular and uniform; 2, larger with visible
  nucleoli and moderate variation; 3, marked variation, often very large and bizarre. It is one of
  three parts of the grade, beside tubules and mitoses.
- *WHO/ISUP* (Delahunt et al., Am. J. Surg. Pathol. 37, 2013) grades clear-cell and papillary renal
  carcinoma by nucleoli: 1, absent or inconspicuous at x400; 2, conspicuous at x400 but not at
  x100; 3, conspicuous at x100; 4, extreme pleomorphism, giant cells, rhabdoid or sarcomatoid
  differentiation.

The measures here stand for the size, spread and staining that those definitions speak of. They
see no nucleoli, no tubules and no mitoses, know no normal epithelium, and replace no grade.
"""

from __future__ import annotations

from wsiseg.grading.nuclei import Nuclei, grading
from wsiseg.grading.reference import Reference, find_reference, lymphocyte_like

__all__ = ["Nuclei", "Reference", "find_reference", "grading", "lymphocyte_like"]
