"""The machine description: sizes, rates, energies and areas, each with its source. Read from a target's TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Array", "Chip", "Component", "Energy", "Host", "Machine", "Network", "TileSpec"]


@dataclass(frozen=True)
class Array:
    """One crossbar: word lines, data bit lines, bits per cell, further unit columns (sum of inputs)."""

    rows: int
    columns: int
    cell_bits: int
    unit_columns: int = 0


@dataclass(frozen=True)
class TileSpec:
    """One tile: crossbars, memory, and the rates of its units (per clock cycle)."""

    arrays: int
    memory_bytes: int
    vector_lanes: int
    bus_bytes_per_cycle: int
    queue_depth: int


@dataclass(frozen=True)
class Network:
    """XY mesh between tiles and links between chips."""

    link_bytes_per_cycle: int
    hop_cycles: int
    chip_link_bytes_per_cycle: int
    chip_hop_cycles: int


@dataclass(frozen=True)
class Chip:
    """Tiles of one chip, as a mesh of columns x rows."""

    mesh_columns: int
    mesh_rows: int

    @property
    def tiles(self) -> int:
        """Tiles of one chip."""
        return self.mesh_columns * self.mesh_rows


@dataclass(frozen=True)
class Host:
    """The host node: elements it moves or computes per clock cycle of the chip."""

    elements_per_cycle: int


@dataclass(frozen=True)
class Component:
    """A part of the chip: how many, power and area of one, per what (array, tile, chip), and where the figures are from."""

    name: str
    per: str
    count: float
    power_mw: float
    area_mm2: float
    source: str


@dataclass(frozen=True)
class Energy:
    """Energy of one action, the component it is booked on, and where the figure is from."""

    action: str
    component: str
    energy_pj: float
    source: str


@dataclass(frozen=True)
class Machine:
    """Everything the engines know about the hardware. ``notes`` names the choices that a paper leaves open."""

    name: str
    clock_hz: float
    array: Array
    tile: TileSpec
    chip: Chip
    network: Network
    host: Host
    components: tuple[Component, ...] = ()
    energies: tuple[Energy, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
