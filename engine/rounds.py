"""Plays a session to several strategies at once: one for each account that trades on one book.

At each moment every strategy has its turn, in the order of the accounts; what one's commands mean
for another is handed on before time goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .errors import StrategyError, user_code
from .kernels import layout, loop
from .player import Player, check_strategy, playing
from .programs import CompiledStrategy
from .schema import NO_TIME
from .simulation import TIMED, Simulation


def play_together(
    sims: Sequence[Simulation], strategies: Sequence[Any], *, every: int | None = None
) -> None:
    """Play the whole session to one strategy for each of several accounts on one bus, in order.

    every: ns between the calls of functions; without it strategies are objects with hooks. Raises
    as `play` does.
    """
    for strategy in strategies:
        check_strategy(strategy, every)
        if isinstance(strategy, CompiledStrategy):
            raise StrategyError(f"{strategy!r}: a compiled strategy plays alone")
    players = [Player(sim, each, None) for sim, each in zip(sims, strategies, strict=True)]
    with playing(sims):
        if every is None:
            _play_hooks_together(players)
        else:
            _play_functions_together(players, strategies, every)
    for sim in sims:
        sim.serve()


def _play_functions_together(
    players: Sequence[Player], functions: Sequence[Callable[[Simulation], Any]], every: int
) -> None:
    """Call each function at start + k x every, after all rows with ts <= that time."""
    session, bus = players[0].sim.session, players[0].sim.bus
    functions = [user_code(decide) for decide in functions]
    for ts in range(session.start, session.end + 1, every):
        bus.advance(ts)
        for player, decide in zip(players, functions, strict=True):
            player.sim.serve()
            player.sim.cause = TIMED
            decide(player.sim)
            if player.sim.timers:
                raise StrategyError("timer: a function called every so often has no on_timer")
    bus.advance()
    _finish_together(players)


def _play_hooks_together(players: Sequence[Player]) -> None:
    """Call the hooks of all players until the tape ends and no timer is left in it."""
    bus, end = players[0].sim.bus, players[0].sim.session.end
    for player in players:
        player.start()
    _deliver_together(players)
    for player in players:
        bus.memory[layout.WATCH] |= player.watch()
    while True:
        timer = min(player.next_timer(end) for player in players)
        if bus.advance(timer) == loop.WATCHED:
            for player in players:
                player.deliver_burst()
        elif timer == NO_TIME:
            break
        else:
            for player in players:
                if player.next_timer(end) == timer:
                    player.ring(timer)
        _deliver_together(players)
    bus.memory[layout.WATCH] = 0
    _finish_together(players)


def _deliver_together(players: Sequence[Player]) -> None:
    """Hand on journal rows until nobody has more to say to them."""
    while any(player.delivered_journal < player.count for player in players):
        for player in players:
            player.deliver_journal()


def _finish_together(players: Sequence[Player]) -> None:
    for player in players:
        player.finish()
    _deliver_together(players)
