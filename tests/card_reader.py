"""From an image to its mask by the complete card alone: what a stranger would write. Imports nothing of ours.

Every number comes from the card; the words of its `processing` are what the functions do, step by step.
"""

import math

import numpy as np
import onnxruntime
from PIL import Image
from scipy import ndimage, special

BILINEAR = Image.Resampling.BILINEAR


class CardReader:
    """A model as its complete card (a dictionary) describes it; the files lie in `folder`."""

    def __init__(self, card, folder):
        self.card, self.way = card, card["processing"]
        self.sessions = {
            name: onnxruntime.InferenceSession(str(folder / file["file"]), providers=["CPUExecutionProvider"])
            for name, file in card["files"].items()
        }

    def run(self, name, image):
        """Maps (C, h, w) of a normalised image."""
        card, session = self.card[name], self.sessions[name]
        normal = (image.astype(np.float32) / 255 - np.float32(card["mean"])) / np.float32(card["std"])
        (maps,) = session.run(None, {session.get_inputs()[0].name: normal.transpose(2, 0, 1)[None]})
        return maps[0]

    def mask(self, rgb):
        """Levels (H, W) of the cell that an image (H, W, 3) was taken of: 0 background ... as the card names them."""
        table = self.white_balance(rgb)
        left, top, side = self.window(rgb, table)
        first = self.draw(rgb, table, left, top, side)
        again = self.second_window(first, left, top, side, rgb.shape)
        if again is not None:
            second = self.draw(rgb, table, *again)
            first = second if second.any() else first
        return first

    def white_balance(self, rgb):
        way = self.way["white_balance"]
        step = max(1, math.isqrt(rgb.shape[0] * rgb.shape[1] // way["enough_pixels"]))
        background = np.percentile(rgb[::step, ::step], way["percentile"], axis=(0, 1))
        factor = np.minimum(way["target"] / np.maximum(background, 1), way["most"])
        return np.clip(np.rint(np.arange(256)[:, None] * factor), 0, 255).astype(np.uint8)

    def balanced(self, image, table, name):
        if not self.card[name]["white_balance"]:
            return image
        return np.stack([table[image[..., channel], channel] for channel in range(3)], axis=-1)

    # --- find ---

    def find(self, rgb, table, least=None):
        """Objects: boxes (N, 4), scores (N,), kinds (N,)."""
        card, way = self.card["localiser"], self.way["find"]
        limits = np.array([card["least_scores"][kind] if least is None else least for kind in card["kinds"]])
        height, width = rgb.shape[:2]
        longer = max(height, width)
        scale = min(max(longer, way["least_grid"]), way["grid"]) / longer
        room = way["most_tiles"] * (way["tile"] - way["overlap"]) ** 2
        finest = max(scale, min(1, math.sqrt(room / (height * width))))
        level = self.level(rgb, table, scale)
        found = self.settled(scaled(self.look(level, limits), 1 / scale))
        while (finer := self.next_scale(found, scale, finest)) is not None:
            tiles = self.tiled(self.level(rgb, table, finer), limits)
            large = some(found, diameters(found) * finer > way["large"])
            found, scale = self.settled(joined([scaled(tiles, 1 / finer), large])), finer
        return found

    def level(self, rgb, table, scale):
        height, width = (max(1, round(side * scale)) for side in rgb.shape[:2])
        image = Image.fromarray(rgb)
        if (height, width) != rgb.shape[:2]:
            image = image.resize((width, height), BILINEAR, reducing_gap=self.way["find"]["reducing_gap"])
        return self.balanced(np.asarray(image), table, "localiser")

    def look(self, level, limits):
        way, stride = self.way["find"], self.card["localiser"]["stride"]
        height, width = level.shape[:2]
        room = [(0, -side % way["sides"]) for side in (height, width)]
        maps = self.run("localiser", np.pad(level, [*room, (0, 0)], constant_values=way["empty"]))
        count = len(limits)
        scores = special.expit(maps[:count])
        distances = np.exp(np.clip(maps[count:], *way["log_distances"]))
        y, x = (np.indices(scores.shape[1:]) + 0.5) * stride
        sides = np.stack([x - distances[0], y - distances[1], x + distances[2], y + distances[3]])
        peaks = (scores == ndimage.maximum_filter(scores, size=(1, 3, 3))) & (scores >= limits[:, None, None])
        boxes, kinds = [], np.argwhere(peaks)
        for kind, row, column in kinds:
            rows = np.clip([row - 1, row, row + 1], 0, scores.shape[1] - 1)[:, None]
            columns = np.clip([column - 1, column, column + 1], 0, scores.shape[2] - 1)
            weight = scores[kind, rows, columns]
            weight = np.where(weight >= way["agreeing"] * scores[kind, row, column], weight, 0)
            boxes.append((sides[:, rows, columns] * weight).sum(axis=(1, 2)) / weight.sum())
        found = np.reshape(boxes, (-1, 4)), scores[peaks], kinds[:, 0]
        right, bottom = np.minimum(found[0][:, 2], width), np.minimum(found[0][:, 3], height)
        return some(found, (right > 0) & (bottom > 0) & (found[0][:, 0] < width) & (found[0][:, 1] < height))

    def next_scale(self, found, scale, finest):
        way = self.way["find"]
        if scale >= finest / way["worth"]:
            return None
        on_grid, wanted, any_enough = diameters(found) * scale, scale, False
        for kind, size in way["measured"].items():
            of_kind = on_grid[self.are(found, kind)]
            if len(of_kind) >= way["enough"][kind]:
                any_enough = True
                if np.median(of_kind) < size["from"]:
                    wanted = max(wanted, scale * size["aim"] / np.median(of_kind))
        alone = self.are(found, "red_cell").sum() < way["enough"]["red_cell"]
        if not any_enough or (alone and scale < way["sure"] * finest):
            wanted = max(wanted, way["finer"] * scale)
        return None if wanted <= scale else min(max(wanted, way["worth"] * scale), finest)

    def tiled(self, level, limits):
        way, parts = self.way["find"], []
        for top, bottom in steps(level.shape[0], way):
            for left, right in steps(level.shape[1], way):
                found = self.look(level[top:bottom, left:right], limits)
                kept = np.ones(len(found[0]), bool)
                for axis, (start, stop) in enumerate(((left, right), (top, bottom))):
                    middle = np.clip(found[0][:, [axis, axis + 2]], 0, stop - start).mean(axis=1)
                    reach = way["overlap"] / 2 - way["tile_margin"]
                    kept &= (start == 0) | (middle >= reach)
                    kept &= (stop == level.shape[1 - axis]) | (middle <= stop - start - reach)
                inner = some(found, kept)
                parts.append((inner[0] + [left, top, left, top], *inner[1:]))
        return joined(parts)

    def are(self, found, kind):
        kinds = self.card["localiser"]["kinds"]
        return found[2] == (kinds.index(kind) if kind in kinds else -1)

    def settled(self, found):
        way = self.way["find"]
        found = some(found, np.argsort(-found[1], kind="stable"))
        kept, area = [], np.maximum(found[0][:, 2:] - found[0][:, :2], 1e-6).prod(axis=1)
        platelet = self.are(found, "platelet")
        for one in range(len(area)):
            for other in kept:
                low = np.maximum(found[0][one, :2], found[0][other, :2])
                shared = np.maximum(np.minimum(found[0][one, 2:], found[0][other, 2:]) - low, 0).prod()
                alike = found[2][one] == found[2][other]
                inside = alike or not (platelet[one] or platelet[other])
                union = area[one] + area[other] - shared
                if (inside and shared / min(area[one], area[other]) > way["within"]) or (
                    shared / union > way["same_kind" if alike else "other_kind"]
                ):
                    break
            else:
                kept.append(one)
        found = some(found, np.array(kept, int))
        size, white, red = diameters(found), self.are(found, "leukocyte"), self.are(found, "red_cell")
        typical = np.percentile(size[white], way["typical_percentile"], method="higher") if white.any() else 0
        kept = ~red | (size >= way["red_of_white"] * typical)
        ruler = np.median(size[red & kept]) if (red & kept).sum() >= way["least_red_cells"] else 0
        kept &= ~red | (size >= way["red_of_red"] * ruler)
        small = white & (size < max(way["white_of_white"] * typical, way["white_of_red"] * ruler))
        kinds = self.card["localiser"]["kinds"]
        return some((*found[:2], np.where(small, kinds.index("platelet"), found[2])), kept)

    # --- choose ---

    def window(self, rgb, table):
        """Left, top, side."""
        height, width = rgb.shape[:2]
        whole = float(max(height, width))
        if "localiser" not in self.card:
            return (width - whole) / 2, (height - whole) / 2, whole
        way, found = self.way["choose"], self.find(rgb, table)
        scores = found[1][self.are(found, "leukocyte")]
        found = some(found, self.are(found, "leukocyte"))
        if len(scores):
            found = some(found, scores >= way["as_sure"] * np.percentile(scores, way["percentile"], method="higher"))
            claims = diameters(found)
        else:
            found = self.find(rgb, table, way["least_score"])
            claims = np.array([way["kind_weights"][self.card["localiser"]["kinds"][kind]] for kind in found[2]])
        if not len(claims):
            return (width - whole) / 2, (height - whole) / 2, whole
        left, top, right, bottom = found[0].T
        near = self.way["find"]["cut_share"] * diameters(found)
        cut = (left < near) | (top < near) | (right > width - near) | (bottom > height - near)
        off = (((left + right) - width) / whole) ** 2 + (((top + bottom) - height) / whole) ** 2
        claims = claims * found[1] * np.where(cut, way["cut"], 1) * np.exp(-way["centrality"] * off)
        best = int(np.argmax(claims))
        left, top = max(left[best], 0), max(top[best], 0)
        right, bottom = min(right[best], width), min(bottom[best], height)
        side = max(right - left, bottom - top, 1) / self.card["model"]["cell_fill"]
        return (left + right - side) / 2, (top + bottom - side) / 2, side

    def second_window(self, drawn, left, top, side, shape):
        way, levels = self.way["second_pass"], self.way["mask"]["levels"]
        cell = drawn >= levels["cytoplasm"]
        if not cell.any():
            more = (way["roomier"] - 1) * side
            return None if side >= max(shape) else (left - more / 2, top - more / 2, side + more)
        rows, columns = np.flatnonzero(cell.any(axis=1)), np.flatnonzero(cell.any(axis=0))
        height, width = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
        ideal = max(height, width) / self.card["model"]["cell_fill"]
        x, y = columns[0] + width / 2, rows[0] + height / 2
        off = max(abs(x - left - side / 2), abs(y - top - side / 2))
        most = way["most_resized"]
        if off <= way["most_off"] * side and 1 / most <= ideal / side <= most:
            return None
        return x - ideal / 2, y - ideal / 2, ideal

    # --- input, network, mask, ring ---

    def draw(self, rgb, table, left, top, side):
        height, width = rgb.shape[:2]
        logits = self.run("model", self.network_input(rgb, table, left, top, side))
        maps = special.expit(logits / np.float32(self.card["model"]["temperature"]))
        x0, x1 = max(0, math.floor(left)), min(width, math.ceil(left + side))
        y0, y1 = max(0, math.floor(top)), min(height, math.ceil(top + side))
        step = math.ceil(side / self.way["mask"]["most_grid"])
        grid = math.ceil((y1 - y0) / step), math.ceil((x1 - x0) / step)
        inner = (left - x0) / step, (top - y0) / step, side / step
        labels = self.labels(on_grid(maps, grid, *inner), *inner)
        drawn = np.zeros((height, width), np.uint8)
        drawn[y0:y1, x0:x1] = labels.repeat(step, axis=0).repeat(step, axis=1)[: y1 - y0, : x1 - x0]
        return drawn

    def network_input(self, rgb, table, left, top, side):
        card, most = self.card["model"], self.way["input"]["most_padded"]
        height, width = rgb.shape[:2]
        above, before = max(0, math.ceil(-top)), max(0, math.ceil(-left))
        below, after = max(0, math.ceil(top + side - height)), max(0, math.ceil(left + side - width))
        padded = (height + above + below) * (width + before + after)
        if padded > max(most, height * width):
            step = math.ceil(math.sqrt(padded / most))
            coarse = np.asarray(Image.fromarray(rgb).reduce(step))
            return self.network_input(coarse, table, left / step, top / step, side / step)
        image = np.pad(rgb, [(above, below), (before, after), (0, 0)], mode="symmetric")
        left, top, size = left + before, top + above, card["input_size"]
        box = left, top, min(left + side, image.shape[1]), min(top + side, image.shape[0])
        seen = Image.fromarray(image).resize((size, size), BILINEAR, box=box)
        seen = self.balanced(np.asarray(seen), table, "model")
        if 0 < card["detail"] < size:
            small = Image.fromarray(seen).resize((card["detail"],) * 2, BILINEAR)
            seen = np.asarray(small.resize((size, size), BILINEAR))
        return seen

    def labels(self, maps, left, top, side):
        way, classes = self.way["mask"], self.card["model"]["classes"]
        levels, labels = way["levels"], np.zeros(maps.shape[1:], np.uint8)
        nucleus_p, cytoplasm_p = maps[classes.index("nucleus")], maps[classes.index("cytoplasm")]
        cells = nucleus_p + cytoplasm_p >= way["cell_from"]
        if not cells.any():
            return labels
        cells = parted(cells, max(1, round(way["bridge_share"] * math.sqrt(cells.sum()))))
        parts, count = ndimage.label(cells)
        areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        if not count or areas.max() < way["least_cell"] * side**2:
            return labels
        centres = np.array(ndimage.center_of_mass(cells, parts, range(1, count + 1)))
        off = (((centres - [top, left] - side / 2) / (side / 2)) ** 2).sum(axis=1)
        cell = parts == 1 + np.argmax(areas * np.exp(-way["centrality"] * off))
        body = ndimage.binary_fill_holes(cell)
        nucleus = body & (nucleus_p > cytoplasm_p)
        area = nucleus.sum()
        nucleus &= ~small_parts(nucleus, way["least_lobe"] * area)
        nucleus |= small_parts(ndimage.binary_fill_holes(nucleus) & ~nucleus, way["largest_pinhole"] * area)
        labels[body], labels[nucleus] = levels["cytoplasm"], levels["nucleus"]
        ring = self.way["ring"]
        reach = max(ring["least_px"], ring["share"] * 2 * math.sqrt(body.sum() / math.pi))
        near = ndimage.distance_transform_edt(~body) <= reach
        labels[near & ~body & ~cells] = levels["environment"]
        return labels


def some(found, which):
    return tuple(values[which] for values in found)


def joined(parts):
    return tuple(np.concatenate(values) for values in zip(*parts, strict=True))


def scaled(found, factor):
    return found[0] * factor, *found[1:]


def diameters(found):
    return np.sqrt(np.maximum(found[0][:, 2:] - found[0][:, :2], 0).prod(axis=1))


def steps(length, way):
    tile, overlap = way["tile"], way["overlap"]
    if length <= tile:
        return [(0, length)]
    count = math.ceil((length - overlap) / (tile - overlap))
    return [(start, start + tile) for start in np.linspace(0, length - tile, count).round().astype(int)]


def on_grid(maps, shape, left, top, side):
    """Bilinear values of maps (C, S, S) over a window at the pixel centres of (H, W)."""
    size = maps.shape[1]
    rows = (np.arange(shape[0]) + 0.5 - top) * size / side - 0.5
    columns = (np.arange(shape[1]) + 0.5 - left) * size / side - 0.5
    at = np.meshgrid(rows, columns, indexing="ij")
    return np.stack([ndimage.map_coordinates(one, at, order=1, mode="nearest") for one in maps])


def parted(cells, radius):
    core = ndimage.distance_transform_edt(np.pad(cells, radius + 1, mode="edge"))[(slice(radius + 1, -radius - 1),) * 2]
    parts, count = ndimage.label(core > radius)
    if count < 2:
        return cells
    nearest = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    owner = np.where(cells, parts[tuple(nearest)], 0)
    seam = np.zeros_like(cells)
    right = (owner[:, :-1] != owner[:, 1:]) & (owner[:, :-1] > 0) & (owner[:, 1:] > 0)
    down = (owner[:-1] != owner[1:]) & (owner[:-1] > 0) & (owner[1:] > 0)
    seam[:, :-1] |= right
    seam[:-1] |= down
    return (owner > 0) & ~seam


def small_parts(mask, area):
    parts, _ = ndimage.label(mask)
    small = np.bincount(parts.ravel()) < area
    small[0] = False
    return small[parts]
