"""About: what the tabs show, how a storm is found, which storms are worth seeing."""

from __future__ import annotations

from apps.parts.about import Reading, listed
from apps.parts.labels import short_time
from labkit.data.cases import Case

READING = {
    "Track": """every source is tracked by itself, on its own wind; of its tracks the one that runs along the truth's
    is kept. The circles about the mean of the members hold two thirds of them at each time. The colours say how many
    members come near a place at any time of the run.""",
    "Maps": """the same moment in every source. About each storm, each map has its own centre at the origin, so that
    size and shape can be compared without the error of position. Rings are 50 and 100 km away.""",
    "Structure": """what is averaged around the centre. A coarse grid cannot hold a narrow eyewall: its wind peaks
    too far out and too low. The question to a downscaling is whether its members bring the peak inwards, each of
    them, and as far as the oracle's.""",
    "Intensity": """members that agree with each other more than the oracle's do are overconfident. The highest wind
    of a field includes its gusts and eddies; that of the waves 0 and 1 is the vortex and the flow that carries it. Wind
    against pressure asks whether a member's eyewall is as strong as its depth allows.""",
    "Front": """the temperature that the air would have at sea level, and in it the line along which it changes most, in
    every member. Drag the ends of the section: is the front as steep, and its wind shift and rain as narrow, as in the
    truth and in the oracle's members?""",
    "How a storm is found": """a vortex of the wind must turn about a point, explain most of the wind's variance
    there, and be narrow; its centre is where it is most symmetric. Pressure is used where a run has it. Centres of
    single times are joined by their motion; a storm may be lost for six hours.""",
    "Best tracks": """of every table that was named when the app was started, the storm that ran along the run's own is
    drawn in violet, each agency with dashes of its own, straight between its six-hourly positions. Agencies average the
    wind over different times, JTWC over one minute, Tokyo over ten: each number says over how many, and is converted
    only where winds are compared with pressure.""",
}


class AboutView(Reading):
    reading = READING

    def beside(self) -> str:
        return "<h3>Cases worth seeing</h3>" + listed(_told(case) for case in self.session.shelf.cases.values())


def _told(case: Case) -> tuple[str, str]:
    span = f"{short_time(case.start)} to {short_time(case.end)} {case.end.year}"
    return f"{case.title}, {span} ({case.key})", case.why
