"""Previews of recipes: problems as the student reads them, the teacher's work, tokens, limits, and collection's cost.

preview ──> Preview: problems, tools, limits, cost
                └──> text (terminal), page (one HTML file), as_data (JSON)
"""

from mentor_kit.report.preview.model import Preview
from mentor_kit.report.preview.previewing import MEASURED, preview

__all__ = ["MEASURED", "Preview", "preview"]
