"""The one registry of variables: names, units, colours, ranges and transforms.

Notebooks, apps and scores take all of these from here, so that a member, the truth and the mean of one
variable always share a scale, and a name out of another system (`10u`, `eastward_wind_10m`) finds its meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Variable:
    """One physical quantity; `limits` and `thresholds` are in `units`, `error_limit` is the half-width of a
    symmetric scale for differences. `transform` names the map applied before normalising ("identity", "log1p").
    `plausible` is what nature keeps to, in `units`; `water` says that mass and depth of it are one (1 kg m-2, 1 mm)."""

    name: str
    long_name: str
    units: str
    standard_name: str = ""
    cmap: str = "viridis"
    limits: tuple[float, float] = (0.0, 1.0)
    error_limit: float = 1.0
    thresholds: tuple[float, ...] = ()
    transform: str = "identity"
    non_negative: bool = False
    plausible: tuple[float, float] | None = None
    water: bool = False
    aliases: tuple[str, ...] = field(default=())

    @property
    def label(self) -> str:
        """Long name with its unit, for axes and colour bars."""
        return f"{self.long_name} [{self.units}]" if self.units else self.long_name


def _wind(name: str, direction: str, standard: str, aliases: tuple[str, ...], where: str = "10 m") -> Variable:
    return Variable(
        name=name,
        long_name=f"{direction} wind {where}",
        units="m s-1",
        standard_name=standard,
        cmap="coolwarm",
        limits=(-25.0, 25.0),
        error_limit=10.0,
        thresholds=(5.0, 10.0, 15.0, 20.0),
        plausible=(-150.0, 150.0),
        aliases=aliases,
    )


_ALL = (
    Variable(
        "t2m",
        "2 m temperature",
        "K",
        "air_temperature",
        cmap="fire",
        limits=(268.0, 308.0),
        error_limit=5.0,
        thresholds=(273.15, 283.15, 293.15, 303.15),
        aliases=("2t", "temperature_2m", "T2", "tas", "2m_temperature"),
        plausible=(170.0, 345.0),
    ),
    _wind("u10", "eastward", "eastward_wind", ("10u", "u10m", "eastward_wind_10m", "U10", "uas")),
    _wind("v10", "northward", "northward_wind", ("10v", "v10m", "northward_wind_10m", "V10", "vas")),
    _wind("u850", "eastward", "eastward_wind", ("eastward_wind_850",), "850 hPa"),
    _wind("v850", "northward", "northward_wind", ("northward_wind_850",), "850 hPa"),
    _wind("u500", "eastward", "eastward_wind", ("eastward_wind_500",), "500 hPa"),
    _wind("v500", "northward", "northward_wind", ("northward_wind_500",), "500 hPa"),
    Variable(
        "wind_speed",
        "10 m wind speed",
        "m s-1",
        "wind_speed",
        cmap="CET_L20",
        limits=(0.0, 35.0),
        error_limit=10.0,
        thresholds=(10.0, 17.2, 24.5, 32.7),
        non_negative=True,
        plausible=(0.0, 150.0),
    ),
    Variable(
        "gust",
        "10 m gust",
        "m s-1",
        "wind_speed_of_gust",
        cmap="CET_L20",
        limits=(0.0, 50.0),
        error_limit=15.0,
        thresholds=(17.2, 24.5, 32.7, 40.0),
        non_negative=True,
        aliases=("10fg", "fg10", "10fg3", "fg310", "fg10_3", "10fg6", "fg610", "fg10_6", "i10fg"),
        plausible=(0.0, 200.0),
    ),
    Variable(
        "reflectivity",
        "radar reflectivity",
        "dBZ",
        "equivalent_reflectivity_factor",
        cmap="CET_L8",
        limits=(0.0, 60.0),
        error_limit=25.0,
        thresholds=(10.0, 20.0, 30.0, 40.0),
        non_negative=True,
        aliases=("maximum_radar_reflectivity", "mrr", "refc", "dbz", "DBZ"),
        plausible=(-60.0, 90.0),
    ),
    Variable(
        "tp",
        "rain rate",
        "mm h-1",
        "rainfall_rate",
        cmap="CET_L18",
        limits=(0.0, 20.0),
        error_limit=10.0,
        thresholds=(0.1, 1.0, 5.0, 10.0),
        transform="log1p",
        non_negative=True,
        aliases=(
            *("total_precipitation", "precip", "rain_rate", "rain", "PrecipRate", "precipitation", "pr", "prate"),
            *("tprate", "mtpr", "avg_tprate", "tot_prec", "TOT_PREC", "APCP", "precip_intensity"),
            *("precipitation_flux", "rainfall_flux", "precipitation_amount", "rainfall_amount", "rainfall_rate"),
            *("rainfall", "prcp", "PRATE", "precipitationCal", "hourlyPrecipRate", "lwe_precipitation_rate"),
        ),
        plausible=(0.0, 500.0),
        water=True,
    ),
    Variable(
        "msl",
        "sea-level pressure",
        "Pa",
        "air_pressure_at_mean_sea_level",
        limits=(97000.0, 103000.0),
        error_limit=500.0,
        aliases=("mslp", "prmsl", "slp"),
        plausible=(85000.0, 110000.0),
    ),
    Variable(
        "sp",
        "surface pressure",
        "Pa",
        "surface_air_pressure",
        limits=(70000.0, 103000.0),
        error_limit=500.0,
        plausible=(30000.0, 110000.0),
    ),
    Variable(
        "tcwv",
        "column water vapour",
        "kg m-2",
        "atmosphere_mass_content_of_water_vapor",
        cmap="CET_L18",
        limits=(0.0, 75.0),
        error_limit=15.0,
        non_negative=True,
        plausible=(0.0, 120.0),
        water=True,
    ),
    Variable(
        "t850",
        "temperature 850 hPa",
        "K",
        "air_temperature",
        cmap="fire",
        limits=(263.0, 300.0),
        error_limit=5.0,
        aliases=("temperature_850",),
        plausible=(190.0, 330.0),
    ),
    Variable(
        "t500",
        "temperature 500 hPa",
        "K",
        "air_temperature",
        cmap="fire",
        limits=(240.0, 275.0),
        error_limit=5.0,
        aliases=("temperature_500",),
        plausible=(180.0, 300.0),
    ),
    Variable(
        "z500",
        "geopotential 500 hPa",
        "m2 s-2",
        "geopotential",
        limits=(52000.0, 58500.0),
        error_limit=500.0,
        aliases=("geopotential_500", "gh500"),
        plausible=(42000.0, 62000.0),
    ),
    Variable(
        "cape",
        "convective available potential energy",
        "J kg-1",
        "atmosphere_convective_available_potential_energy",
        cmap="CET_L18",
        limits=(0.0, 4000.0),
        error_limit=1000.0,
        transform="log1p",
        non_negative=True,
        plausible=(0.0, 15000.0),
    ),
    Variable(
        "orography",
        "height of the ground",
        "m",
        "surface_altitude",
        cmap="CET_L10",
        limits=(0.0, 3500.0),
        error_limit=500.0,
        aliases=("elev_mean", "elevation", "z_surface", "HGT"),
        plausible=(-450.0, 8900.0),
    ),
    Variable(
        "land_mask",
        "land fraction",
        "1",
        "land_area_fraction",
        cmap="gray",
        limits=(0.0, 1.0),
        aliases=("lsm_mean", "lsm", "LANDMASK"),
        plausible=(0.0, 1.0),
    ),
    Variable("observed", "fraction observed", "1", cmap="gray"),
    Variable(
        "radar_distance", "distance to the nearest radar", "km", cmap="viridis", limits=(0.0, 500.0), non_negative=True
    ),
)

REGISTRY: dict[str, Variable] = {variable.name: variable for variable in _ALL}
_BY_ALIAS: dict[str, Variable] = {alias: v for v in _ALL for alias in (v.name, *v.aliases)}


def lookup(name: str, *, units: str = "", limits: tuple[float, float] | None = None) -> Variable:
    """The registered variable of that name or alias; an unknown name gets a neutral entry with the units given."""
    if name in _BY_ALIAS:
        return _BY_ALIAS[name]
    low, high = limits or (0.0, 1.0)
    return Variable(name, name.replace("_", " "), units, limits=(low, high), error_limit=max(high - low, 1e-6) / 4)


def at_pressure(name: str, hpa: float) -> str:
    """The name of a variable on a pressure level, t850; u_10hPa where that would be another's, the wind in 10 m."""
    made = f"{name}{hpa:g}"
    return made if made not in _BY_ALIAS or f"{hpa:g} hPa" in lookup(made).long_name else f"{name}_{hpa:g}hPa"


def canonical(name: str) -> str:
    """The registry's name for `name`, or `name` itself where the registry does not know it."""
    return _BY_ALIAS[name].name if name in _BY_ALIAS else name


def plain(text: object, limit: int = 80) -> str:
    """`text` from a file made harmless and short: no mark-up, no mathematics, no control characters."""
    kept = "".join(c for c in str(text) if c.isprintable() and c not in "<>&$`\\\"'")
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def describe(name: str, attrs: dict | None = None) -> Variable:
    """The registry's variable for `name`; an unknown one takes long name and unit from `attrs`, as plain text."""
    attrs = attrs or {}
    if canonical(name) in REGISTRY:
        return lookup(name)
    unknown = lookup(plain(name, 40), units=plain(attrs.get("units", ""), 20))
    return replace(unknown, long_name=plain(attrs.get("long_name", name), 60).replace("_", " "))
