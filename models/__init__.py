"""Models that come with assim, written against the public names of `assim` alone.

One file each; what flows on a periodic plane share is in `periodic_plane`.
"""

if __name__ != "assim.models":
    raise ImportError(
        f"this package is `assim.models`, but was imported as {__name__!r}: "
        "write `import assim.models` or `from assim.models import ...`"
    )

from assim.models.acoustic import Acoustic as Acoustic
from assim.models.advection_diffusion import AdvectionDiffusion as AdvectionDiffusion
from assim.models.barotropic_vorticity import BarotropicVorticity as BarotropicVorticity
from assim.models.burgers import Burgers as Burgers
from assim.models.confined_epidemic import ConfinedEpidemic as ConfinedEpidemic
from assim.models.kuramoto_sivashinsky import KuramotoSivashinsky as KuramotoSivashinsky
from assim.models.lorenz63 import Lorenz63 as Lorenz63
from assim.models.lorenz96 import Lorenz96 as Lorenz96
from assim.models.lorenz96_two_level import Lorenz96TwoLevel as Lorenz96TwoLevel
from assim.models.lotka_volterra import LotkaVolterra as LotkaVolterra
from assim.models.quasi_geostrophic import QuasiGeostrophic as QuasiGeostrophic
from assim.models.rate_and_state import RateAndState as RateAndState
from assim.models.shallow_water import ShallowWater as ShallowWater
from assim.models.sir_waterborne import SIRWaterborne as SIRWaterborne
from assim.models.torus import Torus as Torus
from assim.models.transport import Transport as Transport
from assim.models.two_layer import TwoLayer as TwoLayer
