"""A page in one HTML file, or served live, that shows runs: overview, rollouts, evaluations, recipe.

    run folder ──RunPage──> index (what there is) and chunks (a step, an evaluation)
                               ├─ write_page ──> one file: each chunk compressed, and unpacked when it is looked at
                               └─ PageData ──> answers to the requests of the live page, which `live_page` returns

A tab is a script in `client/` that adds itself to `MentorKit.tabs`, and is named in `document.SCRIPTS`. It finds its
data in a run's index under the key of a function in `run_page.SECTIONS`.
"""

from mentor_kit.report.page.document import live_page
from mentor_kit.report.page.limits import PageLimits
from mentor_kit.report.page.page_data import PageData
from mentor_kit.report.page.run_page import RunPage
from mentor_kit.report.page.writing import WrittenPage, write_page

__all__ = ["PageData", "PageLimits", "RunPage", "WrittenPage", "live_page", "write_page"]
