"""The pictures in docs/ that show what models do, one of each form, made through the server, by `make pictures`."""

import io
from pathlib import Path

import matplotlib
import numpy as np
from examples import many_to_many, one_to_many, one_to_one
from examples.demo import BUNDLES, served
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

import elman
from models.bundles.anomaly.data import HELD_OUT_SEEDS, SETTLING, planted
from models.bundles.cartpole.episodes import HELD_OUT_SEED, returns
from models.bundles.dates.data import ISO_CHARACTERS, ISO_LENGTH, START, to_ids
from models.bundles.digits.data import split
from models.bundles.sunspots.data import AHEAD, FIRST_YEAR, HELD_OUT_YEAR, Floats, month_of, monthly

matplotlib.use("Agg")
from matplotlib import pyplot

DOCS = Path(__file__).parent.parent / "docs"
NUM_COLORS = 64
DATES = ("Saturday, the 3rd of March, 1984", "in 2031, on november 30", "7.12.1941")
NUM_POLES = 25


def main() -> None:
    """Makes all of them."""
    with served(BUNDLES) as (address, _), elman.Client(address) as client:
        next_characters(client.model("char-lm"))
        written(client.model("char-lm"))
        digits(client.model("digits"))
        sunspots(*many_to_many.main(address))
        dates(client.model("dates-encoder"), client.model("dates-decoder"))
        poles(client.model("cartpole"))
        anomalies(client.model("anomaly"))


def next_characters(model: elman.Model) -> None:
    """One to one: how likely each character is after one character alone."""
    beginnings, shown = one_to_one.BEGINNINGS, 12
    logits, _ = model.infer(np.array([[ord(one) for one in beginnings]]))
    figure, axes = pyplot.subplots(1, len(beginnings), figsize=(9, 2.8), sharex=True, layout="constrained")
    for one, row, beginning in zip(axes, softmax(logits[0]), beginnings, strict=True):
        best = np.argsort(-row)[:shown][::-1]
        one.barh([repr(chr(token)) for token in best], row[best], color="C0")
        one.tick_params(axis="y", labelsize=7, labelfontfamily="monospace")
        one.set_title(f"after {beginning!r}", fontsize=10)
        one.set_xlim(0, 0.6)
    figure.supxlabel("probability of the next character", fontsize=9)
    save(figure, "one_to_one")


def written(model: elman.Model) -> None:
    """One to many: what the model writes, each character on the color of its probability."""
    prompt = one_to_many.PROMPT
    generation = model.generate(420, prompt=one_to_many.ids_of(prompt), temperature=0.5, top_k=40, seed=7)
    text = prompt.strip() + "".join(chr(token) for token in generation)
    chances = [None] * len(prompt.strip()) + [float(np.exp(one)) for one in generation.log_probs]
    lines = text.split("\n")
    figure, axes = pyplot.subplots(figsize=(9, 0.24 * len(lines) + 1.0), layout="constrained")
    places = [(row, column) for row, line in enumerate(lines) for column in range(len(line) + 1)]
    for (row, column), character, chance in zip(places, text, chances, strict=False):
        color = "0.85" if chance is None else pyplot.get_cmap("RdYlGn")(chance)
        axes.add_patch(Rectangle((column, row), 1, 1, color=color, linewidth=0))
        axes.text(column + 0.5, row + 0.55, character.strip(), ha="center", va="center", family="monospace", fontsize=9)
    axes.set_xlim(0, max(map(len, lines)) + 1)
    axes.set_ylim(len(lines), 0)
    axes.axis("off")
    scale = matplotlib.cm.ScalarMappable(cmap="RdYlGn")
    figure.colorbar(scale, ax=axes, location="bottom", shrink=0.5, aspect=40, label="probability as the model gave it")
    axes.set_title(f"Written on the server from the prompt in gray, {prompt.strip()!r}", fontsize=10)
    save(figure, "one_to_many")


def digits(model: elman.Model) -> None:
    """Many to one: what the model believes after each row of some images."""
    held_out, chosen = split()[1], (0, 1, 4, 9)
    figure, axes = pyplot.subplots(2, len(chosen), figsize=(9, 4.4), layout="constrained")
    for (image_axes, belief_axes), number in zip(axes.T, chosen, strict=True):
        with model.session() as session:
            belief = np.stack([session.step(row[None]) for row in held_out.rows[number]])  # [8, 10]
        image_axes.imshow(held_out.rows[number], cmap="gray_r", aspect="auto")
        image_axes.set_xticks([])
        image_axes.set_title(f"a {held_out.digits[number]}, read as a {belief[-1].argmax()}", fontsize=10)
        belief_axes.imshow(belief, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        belief_axes.set_xticks(range(10))
        belief_axes.set_xlabel("probability of each digit", fontsize=9)
        for one in (image_axes, belief_axes):
            one.set_yticks(range(8), range(1, 9))
    for one, label in zip(axes[:, 0], ("row that is read", "after row"), strict=True):
        one.set_ylabel(label)
    save(figure, "many_to_one")


def sunspots(forecasts: Floats, free: Floats) -> None:
    """Many to many: one step ahead of all held-out months; and 24 months free running, beside the naive forecast."""
    months, begin = monthly(), month_of(HELD_OUT_YEAR)
    years = FIRST_YEAR + np.arange(len(months)) / 12
    figure, axes = pyplot.subplots(2, 1, figsize=(10, 7), sharex=True, layout="constrained")
    for one in axes:
        one.plot(years[begin:], months[begin:], color="0.7", label="truth")
        one.set_ylabel("sunspot number")
    axes[0].plot(years[begin:], forecasts, color="C3", linewidth=0.8, label="one month ahead")
    axes[0].set_title(f"Monthly sunspot numbers, {HELD_OUT_YEAR} to 2008: none of them learned from")
    for number, start in enumerate(many_to_many.STARTS):
        ahead, label = years[start : start + AHEAD], "_" * (number > 0)  # one entry in the legend for all
        axes[1].plot(ahead, free[number], color="C3", label=label + "24 months, running free")
        axes[1].plot(
            ahead, np.full(AHEAD, months[start - 1]), ":", color="C0", label=label + "naive: the last month stays"
        )
    axes[1].set_title("From every second January on, each forecast read as the next month")
    for one in axes:
        one.legend(loc="upper right")
    save(figure, "sunspots")


def dates(encoder: elman.Model, decoder: elman.Model) -> None:
    """Sequence to sequence: how likely each character of ISO 8601 was, date by date."""
    figure, axes = pyplot.subplots(1, len(DATES), figsize=(9, 3.2), sharey=True, layout="constrained")
    for one, text in zip(axes, DATES, strict=True):
        with encoder.session() as reading:
            reading.step(to_ids(text), returning="none")
            with decoder.session(from_=reading) as writing:
                tokens = list(writing.fork().generate(ISO_LENGTH, prompt=[START], temperature=0.0))
                chances = np.exp(writing.step([START, *tokens[:-1]]))  # [10, 11]
        one.imshow(chances.T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        one.set_xticks(range(ISO_LENGTH), [ISO_CHARACTERS[token] for token in tokens], family="monospace")
        one.set_yticks(range(len(ISO_CHARACTERS)), ISO_CHARACTERS, family="monospace")
        one.set_title(repr(text), fontsize=9)
        one.set_xlabel("written", fontsize=9)
    axes[0].set_ylabel("probability of each character")
    save(figure, "sequence_to_sequence")


def poles(model: elman.Model) -> None:
    """A policy: the poles' angles with the state that the server keeps, and with none."""
    seen: dict[str, list[Floats]] = {"each environment has its session": [], "no state: each step by itself": []}
    remembered, forgotten = seen.values()

    def act(positions: Floats) -> np.ndarray:
        remembered.append(positions)
        return np.asarray(pool.step(positions, outputs=["action"])["action"].argmax(-1))

    def forget(positions: Floats) -> np.ndarray:
        forgotten.append(positions)
        outputs, _ = model.infer(positions[None])  # [1, K, 2]
        return np.asarray(outputs["action"][0].argmax(-1))

    with model.sessions(NUM_POLES) as pool:
        returns(NUM_POLES, HELD_OUT_SEED, act)
    returns(NUM_POLES, HELD_OUT_SEED, forget)
    figure, axes = pyplot.subplots(2, 1, figsize=(9, 4.6), sharex=True, sharey=True, layout="constrained")
    for one, (title, positions) in zip(axes, seen.items(), strict=True):
        angles = np.degrees(np.stack(positions)[..., 1])  # [T, K]
        fell = np.maximum.accumulate(np.abs(angles) > 12, axis=0)
        one.plot(np.where(fell, np.nan, angles), color="C0" if one is axes[0] else "C3", linewidth=0.5)
        one.set_title(f"{title}; {int((~fell[-1]).sum()) if len(fell) >= 500 else 0} of {NUM_POLES} stand at the end")
        one.set_ylabel("angle, degrees")
    axes[1].set_xlabel("step; an episode ends at 500, or when the pole leans more than 12 degrees")
    save(figure, "policy")


def anomalies(model: elman.Model) -> None:
    """Anomalies: a series with what was planted in it, and the score."""
    series, events = planted(HELD_OUT_SEEDS[0])
    with model.session() as session:
        score = session.score(series[:-1, None], series[1:, None], steps=True)
    figure, axes = pyplot.subplots(2, 1, figsize=(9, 4.4), sharex=True, layout="constrained")
    axes[0].plot(series, color="0.3", linewidth=0.6)
    axes[0].set_ylabel("load")
    axes[0].set_title("An hourly load, in red what was planted in it")
    axes[1].plot(np.arange(SETTLING, len(series)), np.sqrt(score.steps)[SETTLING - 1 :], color="C0", linewidth=0.6)
    axes[1].axhline(float(model.info.metadata["threshold"]), color="0.3", linestyle="--", label="threshold")
    axes[1].set(ylabel="error of the forecast", xlabel="hour", xlim=(0, len(series)))
    axes[1].legend(loc="upper left")
    for one in axes:
        for event in events:
            one.axvspan(event.begin - 3, event.end + 3, color="C3", alpha=0.3, linewidth=0)
    save(figure, "anomaly")


def softmax(logits: Floats) -> Floats:
    """[..., V] probabilities."""
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    chances: Floats = weights / weights.sum(-1, keepdims=True)
    return chances


def save(figure: Figure, name: str) -> None:
    """As docs/NAME.png, of few colors: a third of the bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    pyplot.close(figure)
    path = DOCS / f"{name}.png"
    Image.open(drawn).convert("RGB").quantize(NUM_COLORS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"made {path}")


if __name__ == "__main__":
    main()
