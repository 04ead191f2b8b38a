"""About: what the tabs show, in the words of somebody who meets a spectrum for the first time."""

from __future__ import annotations

from apps.parts.about import Reading

READING = {
    "Spectra": """how much variance there is at each wavelength. A mean loses the short waves (its line falls away to
    the right), members should not: they belong on the truth's. The triangles mark the effective resolution, the
    wavelength below which a source has lost or gained more than the tolerance. Slopes of k^-5/3 and k^-3 are drawn
    beside. A perfect model strays from the truth too where there are few times: a departure counts when the 95 %
    intervals of three wavelengths in a row lie beyond the tolerance.""",
    "Residuals": """the truth minus the regression: what the diffusion model has to learn. It reaches less far than the
    field itself, and it is this reach that a patch must hold.""",
    "Autocorrelation": """how much a place knows of another at a distance: 1 at none, 1/e at the e-folding length, zero
    where the field knows nothing more. The rose shows the same in every direction: a circle where there is no
    preferred one. Missing cells are left out pair by pair. Less the mean of all times and cells, which is taken to be
    the same everywhere and always, lengths are right in small domains too; less each field's own mean, what is left
    adds up to nothing, so that every curve falls below zero somewhere and lengths are too short: by half in a domain
    of two of them. What is not reached within half the domain cannot be told from it.""",
    "Patch size": """the smallest patch beyond whose edge a cell tells less than 5 % of the variance in its middle, for
    every variable and by the upper end of the 95 % interval; what it costs, and what a smaller one would miss: the bars
    are the correlation of a patch's middle and its edge, whose square is the share of the variance. Where the domain is
    too small or the times are too few to tell, the whole domain is recommended and the reason said. CorrDiff's rule,
    the first zero of the autocorrelation, stands beside. Move the patch and look. What training and drawing with it
    take is measured on this machine when you ask for it, in the server's queue.""",
    "Data sets": """beside the runs: their truth, and their input brought to the fine grid by bilinear interpolation.
    They have no regression; what the interpolated input leaves reaches farther than what a regression will leave.""",
    "Window": """a domain with unlike edges has a spectrum of its own, which falls as k^-2. Hann's window hides the
    edges; the cosine transform (Denis et al. 2002) mirrors the field there instead; without a window Parseval's law
    holds to the last digit.""",
}


class AboutView(Reading):
    reading = READING
