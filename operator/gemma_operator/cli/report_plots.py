"""The plots of a report: one picture per endpoint, a panel per plot."""

from datetime import UTC, datetime
from io import BytesIO

from gemma_operator.cli.report_data import EndpointReport, Period

WIDTH_INCHES, HEIGHT_INCHES = 10.0, 6.0
DOTS_PER_INCH = 110


def picture(report: EndpointReport, period: Period) -> bytes | None:
    """PNG of the endpoint's plots; None where matplotlib (the extra `report`) is not installed."""
    try:
        from matplotlib.dates import ConciseDateFormatter  # noqa: PLC0415 - optional
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        return None
    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), dpi=DOTS_PER_INCH, layout="constrained")
    for axes, (plot, lines) in zip(figure.subplots(2, 2).flat, report.lines.items(), strict=False):
        axes.set_title(plot, fontsize=10, loc="left")
        for series in lines:
            times = [datetime.fromtimestamp(at, UTC) for at in series.times]
            axes.plot(times, series.values, label=series.labels.get("line", ""), linewidth=1.2)
        if lines:
            axes.legend(fontsize=8, frameon=False)
        else:
            axes.text(0.5, 0.5, "nothing measured", transform=axes.transAxes, ha="center", color="grey")
        axes.set_xlim(datetime.fromtimestamp(period.start, UTC), datetime.fromtimestamp(period.end, UTC))
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]
        axes.grid(alpha=0.3)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
