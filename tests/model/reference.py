"""The operations of the network in NumPy and float64, as defined by the paper and Keras 2.2.4."""

import numpy as np

EPSILON, SLOPE = 1e-3, 0.1


def leaky(x):
    return np.where(x > 0, x, SLOPE * x)


def batch_norm(x, layer):
    """BatchNorm of a layer with its moving statistics."""
    gamma, beta, mean, variance = (np.asarray(w, np.float64) for w in layer.get_weights())
    return (x - mean) / np.sqrt(variance + EPSILON) * gamma + beta


def conv_same(x, kernel, dilation=1):
    """Convolution of (N, H, W, C) by (k, k, C, F), k odd, stride 1, zeros around."""
    size = len(kernel)
    edge = dilation * (size // 2)
    height, width = x.shape[1:3]
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    out = 0.0
    for row in range(size):
        for column in range(size):
            top, left = row * dilation, column * dilation
            window = padded[:, top : top + height, left : left + width]
            out = out + window @ np.asarray(kernel[row, column], np.float64)
    return out


def cbl(x, model, name, **kwargs):
    """CBL of a model's layers `<name>_conv` and `<name>_bn`."""
    [kernel] = model.get_layer(f"{name}_conv").get_weights()
    return leaky(batch_norm(conv_same(x, kernel, **kwargs), model.get_layer(f"{name}_bn")))


def upsample(x):
    return x.repeat(2, axis=1).repeat(2, axis=2)


def average_pool(x):
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def softmax(x, axis):
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0.0, 1.0)


def recurrent(cell, words, kernel, recurrent_kernel, bias, mask=None):
    """All outputs (N, T, u) of a cell of Keras 2.2.4; a masked step repeats the previous output."""
    step = {"gru": _gru_step, "lstm": _lstm_step}[cell]
    units = recurrent_kernel.shape[0]
    h = c = np.zeros((len(words), units))
    outputs = []
    for t in range(words.shape[1]):
        new_h, new_c = step(words[:, t], h, c, kernel, recurrent_kernel, bias)
        unmasked = np.ones((len(words), 1), bool) if mask is None else mask[:, t, None]
        h, c = np.where(unmasked, new_h, h), np.where(unmasked, new_c, c)
        outputs.append(h)
    return np.stack(outputs, axis=1)


def _gru_step(x, h, c, kernel, recurrent_kernel, bias):
    units = recurrent_kernel.shape[0]
    x = x @ kernel + bias  # the order of the gates is update, reset, candidate
    gates = hard_sigmoid(x[:, : 2 * units] + h @ recurrent_kernel[:, : 2 * units])
    update, reset = gates[:, :units], gates[:, units:]
    candidate = np.tanh(x[:, 2 * units :] + (reset * h) @ recurrent_kernel[:, 2 * units :])
    return update * h + (1 - update) * candidate, c


def _lstm_step(x, h, c, kernel, recurrent_kernel, bias):
    z = x @ kernel + h @ recurrent_kernel + bias
    into, forget, candidate, out = np.split(z, 4, axis=1)
    c = hard_sigmoid(forget) * c + hard_sigmoid(into) * np.tanh(candidate)
    return hard_sigmoid(out) * np.tanh(c), c


def garan(feature, fq, weights, groups=2):
    """F_att with K, V and S computed group by group.

    Args:
        feature: (N, h, w, d).
        fq: (N, dq).
        weights: {"key": (kernel, bias), "value": …, "score": …, "query": …}.

    Returns:
        (F_att (N, h, w, d), collect (N, h, w, k), diffuse (N, h, w, k)).
    """
    n, height, width, depth = feature.shape
    attended, collect, diffuse = [], [], []
    for part in range(groups):
        of_feature = np.s_[part * depth // groups : (part + 1) * depth // groups]
        of_text = np.s_[part * fq.shape[1] // groups : (part + 1) * fq.shape[1] // groups]
        flat = feature.reshape(n, -1, depth)[..., of_feature].astype(np.float64)
        key, value, score = (
            flat @ weights[k][0] + weights[k][1] for k in ("key", "value", "score")
        )
        text = fq[:, of_text].astype(np.float64)
        query = text @ weights["query"][0] + weights["query"][1]
        scale = np.sqrt(text.shape[1])
        a = softmax(np.einsum("npd,nd->np", key, query) / scale, axis=1)
        s = sigmoid(np.einsum("npd,nd->np", score, query) / scale)
        gathered = np.einsum("np,npd->nd", a, value)
        attended.append(s[:, :, None] * gathered[:, None])
        collect.append(a)
        diffuse.append(s)
    attended = np.concatenate(attended, axis=-1).reshape(n, height, width, depth)
    grid = (n, height, width, groups)
    return attended, np.stack(collect, -1).reshape(grid), np.stack(diffuse, -1).reshape(grid)


def co_energy(mask_energy, box_energy, mask_feature, box_feature):
    """E_sᵀ C E_c, sample by sample, (N, 1)."""
    energies = []
    for e_s, e_c, f_s, f_c in zip(mask_energy, box_energy, mask_feature, box_feature, strict=True):
        e_s, e_c = softmax(e_s.reshape(-1), 0), softmax(e_c.reshape(-1), 0)
        f_s, f_c = f_s.reshape(-1, f_s.shape[-1]), f_c.reshape(-1, f_c.shape[-1])
        total = 0.0
        for weight_s, vector_s in zip(e_s, f_s, strict=True):
            for weight_c, vector_c in zip(e_c, f_c, strict=True):
                norms = [np.sqrt(max((v * v).sum(), 1e-6)) for v in (vector_s, vector_c)]
                cosine = (vector_s @ vector_c) / (norms[0] * norms[1])
                total += weight_s * weight_c * np.clip((cosine + 1) / 2, 1e-6, 1 - 1e-6)
        energies.append([total])
    return np.array(energies)
