"""The page of runs, served live from their folders; nothing is written there, so a run may be in progress.

    browser ──HTTP──> LiveServer ──AccessRules──> LiveSite ──PageData, RunLister──> run folders

`LiveServer` serves in the foreground or in a thread; `LiveView` is a tracker that serves a run's page in a process of
its own while the run goes on.
"""

from mentor_kit.report.live.access import AccessRules
from mentor_kit.report.live.server import LiveServer
from mentor_kit.report.live.site import LiveSite
from mentor_kit.report.live.tracker import LiveView

__all__ = ["AccessRules", "LiveServer", "LiveSite", "LiveView"]
