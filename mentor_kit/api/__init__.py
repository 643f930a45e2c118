"""mentor-kit from Python: every command of `mentorkit` as a function.

    import mentor_kit

    run = mentor_kit.run("quickstart", overrides={"train.0.steps": 10})
    run.metrics            # a data frame with a row per step
    run.student            # a folder that transformers loads

A recipe is a path, a name, a mapping or a `mentor_kit.Recipe`; overrides are a mapping of dotted keys to values.
Importing this package is cheap: a function's module is loaded when the function is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.utils.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from mentor_kit.api.auditing import audit
    from mentor_kit.api.benching import bench
    from mentor_kit.api.chatting import chat
    from mentor_kit.api.checking import check
    from mentor_kit.api.collecting import collect
    from mentor_kit.api.converting import convert_data
    from mentor_kit.api.data_checking import check_data
    from mentor_kit.api.doctor import check_machine
    from mentor_kit.api.engine_export import ExportedRun, export_run
    from mentor_kit.api.engine_import import import_run
    from mentor_kit.api.evaluating import evaluate
    from mentor_kit.api.exporting import export, quantization_cost, serving, written_format
    from mentor_kit.api.listing import list_runs
    from mentor_kit.api.locations import RUNS
    from mentor_kit.api.machine.check import MachineCheck
    from mentor_kit.api.planning import plan
    from mentor_kit.api.previewing import preview
    from mentor_kit.api.pushing import Push, push
    from mentor_kit.api.recipe_list import ListedRecipe, list_recipes
    from mentor_kit.api.reporting import report
    from mentor_kit.api.rescoring import rescore
    from mentor_kit.api.running import find_edited, resume, run
    from mentor_kit.api.scaffold.plugin import new_plugin
    from mentor_kit.api.scaffold.recipe import new_recipe
    from mentor_kit.api.viewing import view

__all__ = [
    "RUNS",
    "ExportedRun",
    "ListedRecipe",
    "MachineCheck",
    "Push",
    "audit",
    "bench",
    "chat",
    "check",
    "check_data",
    "check_machine",
    "collect",
    "convert_data",
    "evaluate",
    "export",
    "export_run",
    "find_edited",
    "import_run",
    "list_recipes",
    "list_runs",
    "new_plugin",
    "new_recipe",
    "plan",
    "preview",
    "push",
    "quantization_cost",
    "report",
    "rescore",
    "resume",
    "run",
    "serving",
    "view",
    "written_format",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "ExportedRun": "mentor_kit.api.engine_export",
        "ListedRecipe": "mentor_kit.api.recipe_list",
        "MachineCheck": "mentor_kit.api.machine.check",
        "Push": "mentor_kit.api.pushing",
        "RUNS": "mentor_kit.api.locations",
        "audit": "mentor_kit.api.auditing",
        "bench": "mentor_kit.api.benching",
        "chat": "mentor_kit.api.chatting",
        "check": "mentor_kit.api.checking",
        "check_data": "mentor_kit.api.data_checking",
        "check_machine": "mentor_kit.api.doctor",
        "collect": "mentor_kit.api.collecting",
        "convert_data": "mentor_kit.api.converting",
        "evaluate": "mentor_kit.api.evaluating",
        "export": "mentor_kit.api.exporting",
        "export_run": "mentor_kit.api.engine_export",
        "find_edited": "mentor_kit.api.running",
        "import_run": "mentor_kit.api.engine_import",
        "list_recipes": "mentor_kit.api.recipe_list",
        "list_runs": "mentor_kit.api.listing",
        "new_plugin": "mentor_kit.api.scaffold.plugin",
        "new_recipe": "mentor_kit.api.scaffold.recipe",
        "plan": "mentor_kit.api.planning",
        "preview": "mentor_kit.api.previewing",
        "push": "mentor_kit.api.pushing",
        "report": "mentor_kit.api.reporting",
        "rescore": "mentor_kit.api.rescoring",
        "resume": "mentor_kit.api.running",
        "run": "mentor_kit.api.running",
        "quantization_cost": "mentor_kit.api.exporting",
        "written_format": "mentor_kit.api.exporting",
        "serving": "mentor_kit.api.exporting",
        "view": "mentor_kit.api.viewing",
    },
)
