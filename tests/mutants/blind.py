"""Bugs planted by someone who has not read the tests."""

from mutants.mutant import Mutant

BLIND = (
    # ---------------------------------------------------------------- model, cache
    Mutant(
        file="model.py",
        old="return ((key <= query) & text) | (key == query)",
        new="return ((key <= query) & text) | (key == 0)",
        why="Pad tokens are given key 0 to look at, and so is every text token behind"
        " them.",
    ),
    Mutant(
        file="model.py",
        old="n_pads = 0 if padding is None else int(padding.min())",
        new="n_pads = 0 if padding is None else int(padding.max())",
        why="The most padded row decides whether a batch fits into the context, so the"
        " longest row may run past it.",
    ),
    Mutant(
        file="model.py",
        old="if padding is not None or (start > 0 and n_tokens > 1):",
        new="if padding is not None or (start >= n_tokens > 1):",
        why="A chunk longer than all that was read before gets the causal mask of the"
        " top left.",
    ),
    Mutant(
        file="model.py",
        old="""\
    dtype = torch.promote_types(dtype, torch.float32)
    pair = torch.arange""",
        new="""\
    pair = torch.arange""",
        why="RoPE's angles are computed in bfloat16 for a bfloat16 model, where"
        " positions above 256 run together.",
    ),
    Mutant(
        file="model.py",
        old="return unit.to(x.dtype) * self.weight.to(x.dtype)",
        new="return (unit * self.weight).to(x.dtype)",
        why="In half precision RMSNorm multiplies by the gain before it casts back, not"
        " after.",
    ),
    Mutant(
        file="model.py",
        old="return nn.LayerNorm(config.d_model, config.norm_eps, bias=config.bias)",
        new="return nn.LayerNorm(config.d_model, bias=config.bias)",
        why="LayerNorm ignores norm_eps and always adds PyTorch's 1e-5.",
    ),
    Mutant(
        file="model.py",
        old="self.key = nn.Linear(d_model, d_kv, bias=config.bias)",
        new="self.key = nn.Linear(d_model, d_kv, bias=False)",
        why="The keys never have a bias: without RoPE it cancels in the softmax, with"
        " RoPE it does not.",
    ),
    Mutant(
        file="model.py",
        old="std /= (2 * self.config.n_layers) ** 0.5",
        new="std /= self.config.n_layers**0.5",
        why="The initial writers are shrunk as if a layer wrote once to the residual"
        " stream, not twice.",
    ),
    Mutant(
        file="model.py",
        old="manual_seed(seed + zlib.crc32(name.encode()))",
        new="manual_seed(seed + hash(name) % 2**32)",
        why="Initial weights hang on Python's salted hash: the same seed gives another"
        " model in another process.",
    ),
    Mutant(
        file="cache.py",
        old="return (positions - self.padding[:, None]).clamp(min=0)  # (B, T)",
        new="return positions.expand(len(self.padding), n_tokens)  # (B, T)",
        why="Padded rows count their positions from the first pad, which only learned"
        " positions notice.",
    ),
    Mutant(
        file="cache.py",
        old="if len(keys) != len(self.keys):",
        new="if len(keys) > len(self.keys):",
        why="A batch of one row is accepted by a cache of several and copied into all"
        " of them.",
    ),
    Mutant(
        file="cache.py",
        old="""\
        for layer in self.layers:
            layer.length = 0""",
        new="""\
        for layer in self.layers[:1]:
            layer.length = 0""",
        why="clear() empties the first layer's cache only; the deeper ones still hold"
        " the old text.",
    ),
    Mutant(
        file="cache.py",
        old="buffer.numel() * buffer.element_size()",
        new="buffer.numel() * 4",
        why="The cache's size is counted in float32 whatever it is kept in.",
    ),
    # ---------------------------------------------------------------- sample
    Mutant(
        file="sample.py",
        old="""\
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    return logits.scatter(-1, order[:, k:], -torch.inf)""",
        new="""\
    order = logits.sort(dim=-1, stable=True).indices
    return logits.scatter(-1, order[:, :-k], -torch.inf)""",
        why="top-k takes its tokens from the end of an ascending order, so that among"
        " equals the highest id is kept.",
    ),
    Mutant(
        file="sample.py",
        old="""\
    ruled_out[:, 0] = False
    return""",
        new="""\
    return""",
        why="A top_p below the slack for rounding rules out every token, the best as"
        " well.",
    ),
    Mutant(
        file="sample.py",
        old="""\
    if p == 1:
        return logits
    order""",
        new="""\
    order""",
        why="top_p = 1 drops the tokens behind the point where the sum has nearly"
        " reached 1.",
    ),
    Mutant(
        file="sample.py",
        old="""\
        if self.top_p is not None:
            logits = keep_top_p(logits, self.top_p)
        if self.min_p is not None:
            logits = keep_min_p(logits, self.min_p)
""",
        new="""\
        if self.min_p is not None:
            logits = keep_min_p(logits, self.min_p)
        if self.top_p is not None:
            logits = keep_top_p(logits, self.top_p)
""",
        why="min-p comes before top-p, which then sees other, renormalised"
        " probabilities and keeps fewer tokens.",
    ),
    Mutant(
        file="sample.py",
        old="torch.multinomial(row, 1, generator=own)",
        new="torch.multinomial(row, 1, generator=generator[0])",
        why="Of one generator a row only the first is used, so a row's text depends on"
        " the rows above it.",
    ),
    # ---------------------------------------------------------------- generate
    Mutant(
        file="generate.py",
        old="return -(-(length - context_length) // hop) * hop",
        new="return ((length - context_length) // hop + 1) * hop",
        why="The window hops one token early, when the context is exactly full again:"
        " the same with and without a cache.",
    ),
    Mutant(
        file="generate.py",
        old="if len(stops) and finished.all():",
        new="if len(stops) and finished.any():",
        why="The first row that meets a stop token ends the whole batch.",
    ),
    Mutant(
        file="generate.py",
        old="""\
        past_key_values.padding = padding
    _check(""",
        new="""\
    _check(""",
        why="Padding that is given beside a cache never reaches the cache, so pads are"
        " attended to.",
    ),
    Mutant(
        file="complete.py",
        old="""\
        if token == end:
            break""",
        new="""\
        if token == end:
            return""",
        why="Text held back as the possible beginning of a stop string is lost when the"
        " end-of-text token comes.",
    ),
    Mutant(
        file="complete.py",
        old="beginnings = (stop[:size] for stop in stops for size in range(1, len("
        "stop)))",
        new="beginnings = (stop[:-1] for stop in stops)",
        why="Only a stop string that lacks its last character is held back, so one"
        " spread over three tokens leaks its beginning.",
    ),
    Mutant(
        file="complete.py",
        old="found = [(text.find(stop) + len(stop), text.find(stop)) for stop in"
        " stops]",
        new="found = [(text.find(stop), text.find(stop)) for stop in stops]",
        why="Of two stop strings in one piece the one that begins first wins, not the"
        " one that is complete first.",
    ),
    # ---------------------------------------------------------------- data
    Mutant(
        file="data.py",
        old="shuffle = Shuffle(num_windows, seed, int(epoch))",
        new="shuffle = Shuffle(num_windows, seed, int(epochs[0]))",
        why="In a batch that spans two epochs the rows of the second are read in the"
        " order of the first.",
    ),
    Mutant(
        file="data.py",
        old="phase = shuffle.phase(min(context_length - 1, room))",
        new="phase = shuffle.phase(context_length - 1)",
        why="In a split shorter than two windows the phase may push the only window"
        " over the end.",
    ),
    Mutant(
        file="data.py",
        old="""\
        samples = step * batch_size + np.arange(batch_size, dtype=np.int64)[rows]
""",
        new="""\
        mine = np.arange(batch_size, dtype=np.int64)[rows]
        samples = step * len(mine) + mine
""",
        why="A process that takes its share of the rows advances by its share, and"
        " reads again what the others have read.",
    ),
    Mutant(
        file="data.py",
        old="while start < num_targets:",
        new="while start < num_targets - 1:",
        why="A last window of a single target is passed over.",
    ),
    Mutant(
        file="data.py",
        old="return _Encoded(part, narrow(ids, self.dtype), len(text.encode()))",
        new="return _Encoded(part, narrow(ids, self.dtype), len(part.text.encode()))",
        why="The line ends that close documents are tokens but not bytes, so bits per"
        " byte come out too high.",
    ),
    Mutant(
        file="data.py",
        old='if existing.meta["request"] == request and made_from == asked:',
        new='if existing.meta["request"] == request:',
        why="A folder made from another text is returned as if it were the one asked"
        " for.",
    ),
    Mutant(
        file="corpora.py",
        old="""\
            if text.endswith("\\r") and block:  # its "\\n" may come with the next block
                text, used = text[:-1], used - 1
            if start == 0:""",
        new="""\
            if start == 0:""",
        why="A Windows line end that straddles two blocks of a large file stays a"
        " Windows line end.",
    ),
    # ---------------------------------------------------------------- tokenizer
    Mutant(
        file="tokenizer.py",
        old="unknown = (codes >= len(self._ids)) | (ids == self.vocab_size)",
        new="unknown = ids == self.vocab_size",
        why="A character beyond the last of the alphabet is encoded as the last one"
        " without a word.",
    ),
    Mutant(
        file="tokenizer.py",
        old='codecs.getincrementaldecoder("utf-8")(errors="replace")',
        new='codecs.getincrementaldecoder("utf-8")(errors="ignore")',
        why="Streaming swallows bytes that are no character, where decode shows"
        " U+FFFD.",
    ),
    Mutant(
        file="tokenizer.py",
        old="""\
                if new in new_pair:
                    homes[new_pair].add(index)
                    born.add(new_pair)
            spellings[index] = merged
        for new_pair in born:
            heappush(heap, (-counts[new_pair], new_pair))
""",
        new="""\
                if new in new_pair:
                    homes[new_pair].add(index)
                    if new_pair not in born:
                        heappush(heap, (-counts[new_pair], new_pair))
                    born.add(new_pair)
            spellings[index] = merged
""",
        why="A new pair enters the heap with the count of the first word it is met in,"
        " and is merged later than its full count deserves.",
    ),
    Mutant(
        file="tokenizer.py",
        old="return BPETokenizer([bytes.fromhex(t) for t in tokens], kind)",
        new="return BPETokenizer([bytes.fromhex(t) for t in tokens])",
        why="GPT-2's tokenizer is a plain bpe after it has been saved and loaded, with"
        " another hash.",
    ),
    # ---------------------------------------------------------------- train, evaluate
    Mutant(
        file="train.py",
        old="step * settings.accumulate + micro,",
        new="step + micro,",
        why="With accumulation a step reads again the micro-batches of the step"
        " before.",
    ),
    Mutant(
        file="train.py",
        old="self.skipped, self.best_step = state.skipped, state.best_step",
        new="self.best_step = state.best_step",
        why="A resumed float16 run forgets how many steps it skipped, and its schedule"
        " jumps ahead.",
    ),
    Mutant(
        file="train.py",
        old="fresh = start is None or step > start",
        new="fresh = start is None or step >= start",
        why="The step that a run resumes from is measured and written down a second"
        " time.",
    ),
    Mutant(
        file="train.py",
        old="""\
        distributed.all_reduce(total)
        total /= process.world_size
""",
        new="""\
        distributed.all_reduce(total)
""",
        why="With several processes the loss that is reported is their sum, not their"
        " mean.",
    ),
    Mutant(
        file="train.py",
        old="""\
    if fingerprint(before) == fingerprint(loop.config) and (
        before.train.seed == loop.config.train.seed
    ):
        return
""",
        new="""\
    if fingerprint(before) == fingerprint(loop.config):
        return
""",
        why="A run can be resumed with another seed than it began with.",
    ),
    Mutant(
        file="evaluate.py",
        old="model.train(was_training)",
        new="model.train()",
        why="Evaluating a model that was in evaluation mode switches its dropout on.",
    ),
    # ---------------------------------------------------------------- optim, precision
    Mutant(
        file="optim.py",
        old="max(0, step - began) / max(1, decay_steps - 1))",
        new="max(0, step - began) / max(1, decay_steps))",
        why="The last step's learning rate stays above min_learning_rate.",
    ),
    Mutant(
        file="optim.py",
        old="""\
            betas=(config.beta1, config.beta2),
""",
        new="",
        why="AdamW never hears of beta1 and beta2, and uses PyTorch's own.",
    ),
    Mutant(
        file="precision.py",
        old="""\
        for optimizer in optimizers:
            self.scaler.unscale_(optimizer)
""",
        new="""\
        self.scaler.unscale_(optimizers[0])
""",
        why="In float16 the second optimiser's gradients are still scaled when their"
        " norm is taken and clipped.",
    ),
    Mutant(
        file="precision.py",
        old="torch.autocast(self.device_type, dtype=DTYPES[self.name])",
        new="torch.autocast(self.device_type)",
        why="Autocast takes the device's favourite format: float16 on a CPU is"
        " bfloat16 in truth.",
    ),
    # ---------------------------------------------------------------- checkpoint, run
    Mutant(
        file="checkpoint.py",
        old="if tensor.shape != own[name].shape or tensor.dtype != own[name].dtype:",
        new="if tensor.shape != own[name].shape:",
        why="Weights that were rounded to float16 are loaded into a float32 model"
        " without a word.",
    ),
    Mutant(
        file="run.py",
        old='kept = [line for row, line in self._lines() if row["step"] <= step]',
        new='kept = [line for row, line in self._lines() if row["step"] < step]',
        why="Resuming throws away the row of the step it resumes from, which is not"
        " written again.",
    ),
    Mutant(
        file="run.py",
        old='if not line.endswith(b"\\n") and len(line) < LONGEST_ROW:',
        new="if not line:",
        why="A row that a power cut left unfinished makes the whole run unreadable.",
    ),
    # ---------------------------------------------------------------- config, costs
    Mutant(
        file="config.py",
        old="width = 8 * self.d_model // 3 if gated else 4 * self.d_model",
        new="width = round(8 * self.d_model / 3) if gated else 4 * self.d_model",
        why="The gated layer's width is rounded to the nearest, not down, where d_model"
        " is no multiple of 3.",
    ),
    Mutant(
        file="config.py",
        old="""\
        elif wanted is int:
            if isinstance(value, bool) or not isinstance(value, int):""",
        new="""\
        elif wanted is int:
            if not isinstance(value, int):""",
        why="n_layers = true passes for one layer.",
    ),
    Mutant(
        file="config.py",
        old='{"corpus": corpus_hash, "experiment": experiment or {}}',
        new='{"corpus": corpus_hash}',
        why="Experiments that differ in their own table only share one fingerprint.",
    ),
    Mutant(
        file="costs.py",
        old='part.name not in ("embedding", "position", "head")',
        new='part.name not in ("embedding", "position")',
        why="With untied weights the head's operations are counted twice.",
    ),
    Mutant(
        file="costs.py",
        old='if config.norm == "layernorm" and config.bias:',
        new="if config.bias:",
        why="A model with RMSNorm and biases is said to have norm biases that do not"
        " exist.",
    ),
    # ---------------------------------------------------------------- huggingface
    Mutant(
        file="huggingface.py",
        old="halves = weight.reshape(n_heads, 2, -1, *weight.shape[1:])",
        new="halves = weight.reshape(n_heads, -1, 2, *weight.shape[1:])",
        why="The way back to Meta's layout is the way there once more: right only for"
        " heads of four coordinates.",
    ),
    Mutant(
        file="huggingface.py",
        old='for where in ("rope_scaling", "rope_parameters"):',
        new='for where in ("rope_scaling",):',
        why="A base that stands under rope_parameters alone, as transformers 5 writes"
        " it, is read as 10,000.",
    ),
    Mutant(
        file="huggingface.py",
        old='norm_eps=need("rms_norm_eps", default=1e-6)',
        new='norm_eps=need("rms_norm_eps", default=1e-5)',
        why="A Llama whose file leaves rms_norm_eps out gets our default, not that of"
        " transformers.",
    ),
)
