"""The idealised atmosphere: the lab's measuring rod.

A synthetic atmosphere over a mountainous island whose conditional law is known. The coarse input is a function of the
large-scale state alone; the fine state is drawn from an explicit distribution given that state, so that the *oracle*
ensemble, the best that any downscaling model could do, can be drawn for every hour.

What is in it, and what it is like in nature
- Large scale (`large_scale`): drifting waves of 256 km and longer in wind, temperature and moisture, a monsoon that
  turns with the season, day and night; cold fronts every few days from autumn to spring; typhoons in summer, with a
  coarse vortex too wide and too weak, as a 25 km analysis has it.
- Ground (`terrain`): an island with a range of up to 2.5 km; winds speed up on ridges, flow around slopes and die in
  the lee (Winstral and Marks 2002), sea and valley breezes follow the sun, air cools with height by 6.2 K/km or less
  when moist, cold air pools in calm valleys at night, foehn warms the lee.
- Small scale (`fine_scale`): rotational and divergent eddies that grow with wind, ground, lee and sun; rain where a
  random field rises above a threshold that moisture, lifting slopes, heated ridges and fronts move; fronts that sharpen
  and meander; typhoons whose eyewall, radius of maximum wind, place and rain bands the coarse grid does not tell.

How it compares (4 km, four years; notebook 02 draws it)
- Kinetic energy falls as k^-1.7 between 135 and 24 km, like the k^-5/3 observed (Nastrom and Gage 1985) on the way from
  the k^-3 of larger scales, and faster below 24 km, as in models that resolve six cells (Skamarock 2004).
- Rain is intermittent (33 % of cells have an echo, 0.7 % above 30 dBZ) and its rate so skewed that one hour in a
  thousand exceeds 20 mm/h while the wettest cell has 300. Mean 10 m wind is 6 m/s; typhoons reach 40.
- By day the island's low ground warms by 5.5 K, the sea not at all.

What it is not: it obeys no equation of motion. Eddies do not cascade, rain conserves no water, a front does not feel
the mountain, and the random fields are Gaussian before they are shaped. A model that does well here has learnt a
conditional distribution; whether it has learnt weather, only real data can say.
"""

from labkit.data.idealised.reader import IdealisedConfig, open_idealised, oracle

__all__ = ["IdealisedConfig", "open_idealised", "oracle"]
