"""The report in Weights & Biases: a W&B Report and a workspace view, of the specification the page shows.

Sections, titles and "how to read this" are those of the HTML page; W&B draws the figures from what the runs
logged, so they follow when runs are added. Filters and quantities are checked against the project's runs before
anything is saved.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cl_forget.ground.errors import UserError
from cl_forget.ground.redact import redact
from cl_forget.reporting.specification import Listing, Specification
from cl_forget.reporting.verdict_strip import verdicts_markdown
from cl_forget.reporting.wandb.panels import Renderer
from cl_forget.reporting.wandb.runs import TrackedRun, fetch, match, selecting
from cl_forget.tracking.login import project as destination

TITLE_LENGTH = 128

ITEMS = "The items behind the numbers"


@dataclass(frozen=True)
class Published:
    """What was saved.

    Attributes:
        report, workspace: their addresses.
        missing: names of the report's runs that are not in the project.
    """

    report: str
    workspace: str
    missing: tuple[str, ...]


def publish(specification: Specification, where: str, timeout: float = 30.0) -> Published:
    """Save the report and the workspace view in a W&B project that its runs are tracked in.

    Args:
        specification: the report.
        where: "entity/project".
        timeout: the longest wait for an answer of the server, seconds.

    Raises:
        UserError: nobody is logged in, the server or the entity is not there, the project has none of the runs,
            or W&B refuses the report; one line with the cure.
    """
    entity, project = destination(where, timeout)
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_HTTP_TIMEOUT", str(max(1, int(timeout))))
    try:
        tracked = fetch(entity, project, timeout)
        runs = match(specification.runs, tracked)
        target = Target(specification, entity, project, runs, tracked)
        report = target.report().save().url
        workspace = target.workspace().save().url
    except UserError:
        raise
    except Exception as error:  # of whatever kind the wandb packages raise
        line = " ".join(str(error).split())
        raise UserError(
            redact(f"W&B did not take the report: {line}. Try again, or write to {where}.")
        ) from error
    there = {run.record.name for run in runs if run.record is not None}
    missing = tuple(record.name for record in specification.runs if record.name not in there)
    return Published(report, workspace, missing)


@dataclass
class Target:
    """A report for one project, not saved yet.

    Attributes:
        specification: what it shows.
        entity, project: where.
        runs: its runs in W&B.
        tracked: every run of the project.
    """

    specification: Specification
    entity: str
    project: str
    runs: Sequence[TrackedRun]
    tracked: Sequence[TrackedRun]

    def report(self) -> Any:
        """W&B's report object."""
        from wandb_workspaces.reports import v2 as wr

        specification, renderer = self.specification, Renderer(self.specification, self.runs)
        blocks: list[Any] = [wr.P(specification.subtitle), *(wr.P(text) for text in specification.findings)]
        if verdicts := verdicts_markdown(specification.verdicts):
            blocks.append(wr.MarkdownBlock(verdicts))
        blocks.append(wr.TableOfContents())
        for section in specification.sections:
            blocks.append(wr.H1(section.title))
            for item in section.items:
                shown = renderer.render(item)
                blocks += [wr.H2(item.title), wr.MarkdownBlock(shown.text)]
                if shown.panels or isinstance(item, Listing):
                    blocks.append(wr.PanelGrid(runsets=self._run_sets(renderer), panels=shown.panels))
        if (items := renderer.items()) is not None:
            blocks += [wr.H2(ITEMS), wr.MarkdownBlock(items.text)]
            blocks.append(wr.PanelGrid(runsets=self._run_sets(renderer), panels=items.panels))
        definitions = "\n".join(f"- **{name}**: {text}" for name, text in specification.definitions.items())
        blocks += [wr.H2("Definitions"), wr.MarkdownBlock(definitions)]
        title = specification.title[:TITLE_LENGTH]
        return wr.Report(
            project=self.project, entity=self.entity, title=title, blocks=blocks, width="fluid",
            description=specification.subtitle,
        )  # fmt: skip

    def workspace(self) -> Any:
        """W&B's workspace object: the same sections over the same runs, one colour per method."""
        from wandb_workspaces import expr
        from wandb_workspaces import workspaces as ws

        renderer = Renderer(self.specification, self.runs)
        sections = []
        for section in self.specification.sections:
            panels = [panel for item in section.items for panel in renderer.render(item).panels]
            sections.append(ws.Section(name=section.title, panels=panels, is_open=True))
        return ws.Workspace(
            entity=self.entity,
            project=self.project,
            name=self.specification.title[:TITLE_LENGTH],
            sections=sections,
            runset_settings=ws.RunsetSettings(
                filters=selecting(self.runs, self.tracked),
                groupby=[expr.Config("method")],
                group_colors=self._colors(),
                pinned_columns=renderer.columns(),
            ),
        )

    def _run_sets(self, renderer: Renderer) -> list[Any]:
        """One per method, in its colour."""
        from wandb_workspaces.reports import v2 as wr

        colors, sets = self._colors(), []
        by_method: dict[str, list[TrackedRun]] = {}
        for run in self.runs:
            assert run.record is not None
            by_method.setdefault(run.record.method, []).append(run)
        for method, runs in by_method.items():
            sets.append(
                wr.Runset(
                    entity=self.entity,
                    project=self.project,
                    name=method,
                    filters=selecting(runs, self.tracked),
                    run_settings={run.id: wr.RunSettings(color=colors[method]) for run in runs},
                    pinned_columns=renderer.columns(),
                )
            )
        return sets

    def _colors(self) -> dict[Any, Any]:
        return {method.name: method.color for method in self.specification.methods}
