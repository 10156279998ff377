"""The best schedule of a study as a file: for autowarm, Lightning, transformers, plain torch or optax.

Writes text and knows no framework. One module a format, `registry` beside them; `choice` picks the record of a study,
`source` is what every format is given.
"""

from autowarm.export.choice import choose, confirmed_seeds
from autowarm.export.registry import FORMATS, export
from autowarm.export.source import Source, provenance

__all__ = ["FORMATS", "Source", "choose", "confirmed_seeds", "export", "provenance"]
