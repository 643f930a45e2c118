"""A page in one HTML file, or served live, that shows runs: overview, rollouts, evaluations, recipe.

`write_page` makes the file. `PageData` answers the requests of the live page, which `live_page` returns.
"""

from mentor_kit.report.page.document import live_page
from mentor_kit.report.page.limits import PageLimits
from mentor_kit.report.page.page_data import PageData
from mentor_kit.report.page.run_page import RunPage
from mentor_kit.report.page.writing import WrittenPage, write_page

__all__ = ["PageData", "PageLimits", "RunPage", "WrittenPage", "live_page", "write_page"]
