"""About: what the tabs show and how a storm is found."""

from __future__ import annotations

from apps.parts.about import Reading

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
    of a field includes its gusts and eddies; that of the waves 0 and 1 is the vortex and the flow that carries it.""",
    "Front": """the temperature that the air would have at sea level, and in it the line along which it changes most, in
    every member. Drag the ends of the section: is the front as steep, and its wind shift and rain as narrow, as in the
    truth and in the oracle's members?""",
    "How a storm is found": """a vortex of the wind must turn about a point, explain most of the wind's variance
    there, and be narrow; its centre is where it is most symmetric. Pressure is used where a run has it. Centres of
    single times are joined by their motion; a storm may be lost for six hours.""",
}


class AboutView(Reading):
    reading = READING
