"""About: what the tabs show, in the words of somebody who meets a spectrum for the first time."""

from __future__ import annotations

from apps.parts.about import Reading

READING = {
    "Spectra": """how much variance there is at each wavelength. A mean loses the short waves (its line falls away to
    the right), members should not: they belong on the truth's. The triangles mark the effective resolution, the
    wavelength below which a source has lost or gained more than the tolerance. Slopes of k^-5/3 and k^-3 are drawn
    beside.""",
    "Residuals": """the truth minus the regression: what the diffusion model has to learn. It reaches less far than the
    field itself, and it is this reach that a patch must hold.""",
    "Autocorrelation": """how much a place knows of another at a distance: 1 at none, 1/e at the e-folding length, zero
    where the field knows nothing more. The rose shows the same in every direction: a circle where there is no
    preferred one. Missing cells are left out pair by pair. Less each field's own mean, every curve falls below zero
    somewhere, because what is left adds up to nothing; less the mean of all fields, what whole fields share counts.""",
    "Patch size": """the smallest patch that holds the reach of every variable, what it costs, and what a smaller one
    would not see: the bars are what is still shared by the middle of a patch and its edge. Move it and look. What
    training and drawing with it take is measured on this machine when you ask for it, in the server's queue.""",
    "Data sets": """beside the runs: their truth, and their input brought to the fine grid by bilinear interpolation.
    They have no regression; what the interpolated input leaves reaches farther than what a regression will leave.""",
    "Window": """a domain with unlike edges has a spectrum of its own, which falls as k^-2. Hann's window hides the
    edges; the cosine transform (Denis et al. 2002) mirrors the field there instead; without a window Parseval's law
    holds to the last digit.""",
}


class AboutView(Reading):
    reading = READING
