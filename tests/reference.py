"""Both families in plain NumPy, float64, with loops, written from the papers and not from the package.

Reads the package's parameter tree; shares no code with it.
"""

import math

import numpy as np


def logits(config, params, batch, row: int):
    """logits_LV of one row. `config` is the model section as a plain dict."""
    p = tree64(params)
    segments = np.asarray(batch.segments_BL[row])
    memory = None
    if batch.source_BM is not None:
        source = embed(p, np.asarray(batch.source_BM[row]))
        positions = np.asarray(batch.source_positions_BM[row])
        memory = stack(config, p["encoder"], source, positions, np.asarray(batch.source_segments_BM[row]), causal=False)
    x = embed(p, np.asarray(batch.tokens_BL[row]))
    cross = None if memory is None else (memory, np.asarray(batch.source_segments_BM[row]))
    y = stack(config, p["decoder"], x, np.asarray(batch.positions_BL[row]), segments, causal=True, cross=cross)
    return y @ p["embedding"].get("out", p["embedding"]["table"]).T


def tree64(tree):
    return {k: tree64(v) if isinstance(v, dict) else np.asarray(v, np.float64) for k, v in tree.items()}


def embed(p, tokens):
    table = p["embedding"]["table"]
    return np.stack([table[t] * math.sqrt(table.shape[1]) for t in tokens])


def stack(config, p, x, positions, segments, *, causal, cross=None):
    x = add_positions(config, p, x, positions)
    bias = logit_bias(config, p, positions, causal)
    allowed = np.array(
        [
            [sj > 0 and si == sj and (not causal or pj <= pi) for sj, pj in zip(segments, positions, strict=True)]
            for si, pi in zip(segments, positions, strict=True)
        ]
    )
    for n in range(next(iter(p["layers"]["ffn"].values())).shape[0]):
        layer = pick(p["layers"], n)
        a = layer["attention"]
        x = residual(
            config,
            "attention",
            layer,
            x,
            lambda h, a=a: attention(config, a, h, h, allowed, bias, positions, rotates=True),
        )
        if cross is not None:
            memory, msegments = cross
            seen = np.array([[sj > 0 and si == sj for sj in msegments] for si in segments])
            c = layer["cross"]
            x = residual(
                config,
                "cross",
                layer,
                x,
                lambda h, c=c, m=memory, s=seen: attention(config, c, h, m, s, None, positions, rotates=False),
            )
        x = residual(config, "ffn", layer, x, lambda h, f=layer["ffn"]: feed_forward(config, f, h))
    kind = config["residual"]
    return normalise(config, p["close"]["norm"], x) if kind.startswith(("pre", "none")) else x


def pick(tree, n):
    return {k: pick(v, n) if isinstance(v, dict) else v[n] for k, v in tree.items()}


def residual(config, name, layer, x, f):
    kind = config["residual"]
    own = layer.get(f"{name}_residual", {})
    if kind == "post":
        return normalise(config, own["norm"], x + f(x))
    if kind == "rezero":
        return x + own["alpha"] * f(x)
    update = f(normalise(config, own["norm"], x))
    dropped = {"none": {"attention", "cross", "ffn"}, "none(at='attention')": {"attention", "cross"}}
    dropped["none(at='ffn')"] = {"ffn"}
    return update if name in dropped.get(kind, set()) else x + update


def normalise(config, p, x):
    out = np.empty_like(x)
    for i, v in enumerate(x):
        if config["norm"] == "layernorm":
            out[i] = (v - v.mean()) / math.sqrt(((v - v.mean()) ** 2).mean() + 1e-5) * p["scale"] + p["shift"]
        else:
            out[i] = v / math.sqrt((v**2).mean() + 1e-6) * p["scale"]
    return out


def feed_forward(config, p, x):
    def linear(v, name):
        return v @ p[name] + p.get(f"{name}_bias", 0.0)

    h = linear(x, "in")
    if config["ffn"] == "relu":
        return linear(np.maximum(h, 0), "out")
    if config["ffn"] == "swiglu":
        gate = linear(x, "gate")
        return linear(gate / (1 + np.exp(-gate)) * h, "out")
    tanh = 0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    return linear(tanh, "out")


def attention(config, p, x, memory, allowed, bias, positions, *, rotates):
    heads, groups, size = p["query"].shape[1], p["key"].shape[1], p["query"].shape[2]
    out = np.zeros_like(x)
    for h in range(heads):
        g = h // (heads // groups)
        q = x @ p["query"][:, h] + (p["query_bias"][h] if "query_bias" in p else 0.0)
        k = memory @ p["key"][:, g] + (p["key_bias"][g] if "key_bias" in p else 0.0)
        v = memory @ p["value"][:, g] + (p["value_bias"][g] if "value_bias" in p else 0.0)
        if rotates and config["position"].startswith("rope"):
            q = np.stack([rope(config, v_, pos) for v_, pos in zip(q, positions, strict=True)])
            k = np.stack([rope(config, v_, pos) for v_, pos in zip(k, positions, strict=True)])
        for i in range(len(x)):
            js = np.flatnonzero(allowed[i])
            if not len(js):
                continue
            scores = np.array([q[i] @ k[j] / math.sqrt(size) + (bias[h, i, j] if bias is not None else 0) for j in js])
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            out[i] += sum(w * v[j] for w, j in zip(weights, js, strict=True)) @ p["out"][h]
    return out + p.get("out_bias", 0.0)


def rope(config, v, position):
    """Complex form of the paper (eq. 34 by blocks): each pair times e^(i m theta)."""
    spec = config["position"]
    theta = 500.0 if "theta=500" in spec else 1e4
    n = len(v) // 2 if "fraction=0.5" in spec else len(v)
    out = v.copy()
    for i in range(n // 2):
        a, b = (2 * i, 2 * i + 1) if "interleaved=True" in spec else (i, i + n // 2)
        z = complex(v[a], v[b]) * np.exp(1j * position * theta ** (-2 * i / n))
        out[a], out[b] = z.real, z.imag
    return out


def add_positions(config, p, x, positions):
    width = x.shape[1]
    if config["position"] == "learned":
        return x + np.stack([p["position"]["table"][t] for t in positions])
    if config["position"] != "sinusoidal":
        return x
    waves = np.zeros_like(x)
    for t, position in enumerate(positions):
        for i in range(width // 2):
            angle = position / 10000 ** (2 * i / width)
            waves[t, 2 * i], waves[t, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return x + waves


def logit_bias(config, p, positions, causal):
    heads, n = config["heads"], len(positions)
    if config["position"] not in ("alibi", "t5"):
        return None
    bias = np.zeros((heads, n, n))
    for h in range(heads):
        for i in range(n):
            for j in range(n):
                distance = positions[j] - positions[i]
                if config["position"] == "alibi":
                    bias[h, i, j] = -(2.0 ** (-8 * (h + 1) / heads)) * abs(distance)
                else:
                    bias[h, i, j] = p["position"]["table"][t5_bucket(int(distance), causal), h]
    return bias


def t5_bucket(distance, causal, buckets=32, max_distance=128):
    """The published loop-free code of T5, as a function of one distance (key minus query)."""
    bucket, n = 0, -distance
    if causal:
        n = max(n, 0)
    else:
        buckets //= 2
        bucket += buckets if n < 0 else 0
        n = abs(n)
    exact = buckets // 2
    if n < exact:
        return bucket + n
    far = exact + int(math.log(n / exact) / math.log(max_distance / exact) * (buckets - exact) + 1e-9)
    return bucket + min(far, buckets - 1)
