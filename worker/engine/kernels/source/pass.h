// A whole forward pass of a decoder built as Llama is: token ids in, logits out, in one parallel
// region. Between two parts of which one reads what the other wrote, all threads meet at a barrier.
//
// Products, attention and the parts by row divide their work among the threads themselves. A token
// gets the same bits whatever tokens are computed beside it: each part keeps its own order of
// arithmetic, which the number of tokens does not change. From the last layer's attention on only
// the tokens whose logits are wanted are computed.

#pragma once

#include <algorithm>
#include <cstring>

#include "attention.h"
#include "layer.h"
#include "linear.h"

namespace kernels {

class Scratch;

struct Layer {
    Norm before_attention;
    Linear qkv;  // hidden -> (query_heads + 2 heads) * width: queries, keys, values
    Norm of_queries;
    Norm of_keys;
    Linear out;  // query_heads * width -> hidden
    Norm before_mlp;
    Linear gate_up;  // hidden -> 2 inner: gate, up
    Linear down;     // inner -> hidden
    Reading reading;
};

struct Model {
    int32_t count;   // layers
    int32_t hidden;  // numbers of a token between the layers
    int32_t inner;   // numbers of the gate
    int32_t width;   // of a head
    int32_t query_heads;
    int32_t heads;  // of keys, and of values
    int32_t known;       // tokens that the embedding has
    int32_t vocabulary;  // tokens that the head has
    int32_t positions;   // that the tables of the rotation have
    const float* cosines;   // (positions, width / 2)
    const float* sines;     // (positions, width / 2)
    const bf16* embedding;  // (known, hidden)
    const Layer* layers;    // (count,)
    Norm last;
    Linear head;  // hidden -> vocabulary
    Scratch* scratch;

    int32_t qkv_width() const { return (query_heads + 2 * heads) * width; }
};

struct Step {
    int64_t tokens;
    const int64_t* ids;        // (tokens,)
    const int64_t* positions;  // (tokens,) in their sequences
    Rows rows;
    const Plan* plan;
    const Cache* caches;  // (layers,)
    int64_t wanted;
    const int64_t* keep;  // (wanted,) tokens whose logits are wanted
};

// What the parts of a pass leave for each other, a row for each token.
class Scratch {
  public:
    bf16* stream;  // (tokens, hidden): what every layer adds to
    bf16* normed;  // (tokens, hidden): what a norm gives
    bf16* wide;    // (tokens, qkv_width) or (tokens, 2 inner): what qkv or gate_up gives
    bf16* inside;  // (tokens, query_heads * width) or (tokens, inner): what out or down reads
    bf16* wanted_stream;  // (wanted, hidden): of the tokens whose logits are wanted
    bf16* wanted_inside;  // (wanted, as wide as inside)
    int8_t* codes;     // (tokens, of the widest input), int8 only: what the next product reads
    float* scales;     // (tokens, groups of it)
    int32_t* offsets;  // (tokens, groups of it)

    // Makes room for a step. Throws std::bad_alloc.
    void reserve(const Model& model, const Step& step) {
        const int64_t tokens = std::max(step.tokens, step.wanted);
        const int64_t heads = int64_t{model.query_heads} * model.width;
        const int64_t deepest = std::max<int64_t>({model.hidden, model.inner, heads});
        const int64_t widest = std::max(model.qkv_width(), 2 * model.inner);
        const int64_t most_groups = group_count(deepest, LANES);
        // Once to see how much it is, then to divide it.
        for (char* base = nullptr;;) {
            char* end = base;
            take(end, stream, tokens * model.hidden);
            take(end, normed, tokens * model.hidden);
            take(end, wide, tokens * widest);
            take(end, inside, tokens * deepest);
            take(end, wanted_stream, step.wanted * model.hidden);
            take(end, wanted_inside, step.wanted * deepest);
            take(end, codes, tokens * code_width(deepest));
            take(end, scales, tokens * most_groups);
            take(end, offsets, tokens * most_groups);
            if (base) return;
            base = static_cast<char*>(memory_.grown(static_cast<size_t>(end - base)));
        }
    }

  private:
    template <class T>
    static void take(char*& at, T*& part, int64_t count) {
        part = reinterpret_cast<T*>(at);
        at += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;  // whole cache lines
    }

    Memory memory_;
};

// One pass over a step. All threads of a parallel region call `run`.
class Pass {
  public:
    // `last` is the plan of the last layer.
    Pass(const Model& model, const Step& step, const Plan& last, float* logits)
        : model_(model), step_(step), last_(last), logits_(logits), at_(*model.scratch) {}

    void run() const {
        const Tokens all{step_.tokens, at_.stream, at_.inside};
        embed();
        for (int32_t index = 0; index + 1 < model_.count; ++index) {
            const Layer &layer = model_.layers[index], &next = model_.layers[index + 1];
            attend_all(layer, step_.caches[index], *step_.plan);
            add_attended(layer, all);
            add_gated(layer, all);
            norm_all(all, next.before_attention, next.qkv);
        }
        const Layer& layer = model_.layers[model_.count - 1];
        attend_all(layer, step_.caches[model_.count - 1], last_);
        const Tokens wanted = pick_wanted(layer);
        add_attended(layer, wanted);
        add_gated(layer, wanted);
        norm_all(wanted, model_.last, model_.head);
        multiply(model_.head, at_.normed, wanted.count, logits_, FLOATS);
    }

  private:
    // What is computed on: rows of `Scratch`.
    struct Tokens {
        int64_t count;
        bf16* stream;
        bf16* inside;
    };

    // The tokens' numbers in the first layer.
    void embed() const {
        const Layer& layer = model_.layers[0];
#pragma omp for schedule(static)
        for (int64_t token = 0; token < step_.tokens; ++token) {
            bf16* row = at_.stream + token * model_.hidden;
            const bf16* from = model_.embedding + step_.ids[token] * model_.hidden;
            memcpy(row, from, static_cast<size_t>(model_.hidden) * sizeof(bf16));
            norm(row, layer.before_attention, token, layer.qkv);
        }
    }

    // Lets the tokens of `plan` attend, once the keys and values of all tokens are stored.
    void attend_all(const Layer& layer, const Cache& cache, const Plan& plan) const {
        multiply(layer.qkv, at_.normed, step_.tokens, at_.wide, HALVES);
        rotate_and_store(layer, cache);
        attend(cache, step_.rows, plan, layer.reading, at_.wide, layer.qkv.outs, at_.inside,
               layer.out.ins);
        meet();
    }

    // Copies the tokens whose logits are wanted, in the order in which they are wanted.
    Tokens pick_wanted(const Layer& layer) const {
        const auto copy = [](const bf16* from, int64_t row, int64_t width, bf16* to, int64_t n) {
            const size_t bytes = static_cast<size_t>(width) * sizeof(bf16);
            memcpy(to + n * width, from + row * width, bytes);
        };
#pragma omp for schedule(static)
        for (int64_t n = 0; n < step_.wanted; ++n) {
            copy(at_.stream, step_.keep[n], model_.hidden, at_.wanted_stream, n);
            copy(at_.inside, step_.keep[n], layer.out.ins, at_.wanted_inside, n);
        }
        return {step_.wanted, at_.wanted_stream, at_.wanted_inside};
    }

    void add_attended(const Layer& layer, const Tokens& tokens) const {
        if (layer.out.kind == INT8) {
#pragma omp for schedule(static)
            for (int64_t n = 0; n < tokens.count; ++n)
                encode(tokens.inside + n * layer.out.ins, n, layer.out);
        }
        multiply(layer.out, tokens.inside, tokens.count, tokens.stream, ADDED);
    }

    void add_gated(const Layer& layer, const Tokens& tokens) const {
        norm_all(tokens, layer.before_mlp, layer.gate_up);
        multiply(layer.gate_up, at_.normed, tokens.count, at_.wide, HALVES);
#pragma omp for schedule(static)
        for (int64_t n = 0; n < tokens.count; ++n) {
            bf16* row = tokens.inside + n * model_.inner;
            gate_row(at_.wide + n * 2 * model_.inner, model_.inner, row);
            encode(row, n, layer.down);
        }
        multiply(layer.down, tokens.inside, tokens.count, tokens.stream, ADDED);
    }

    // Norms, where the model has them, and rotates queries and keys, which lie side by side; then
    // stores keys and values.
    void rotate_and_store(const Layer& layer, const Cache& cache) const {
        const int64_t width = model_.width, half = width / 2;
        const int32_t heads = model_.query_heads + model_.heads;
#pragma omp for schedule(static)
        for (int64_t token = 0; token < step_.tokens; ++token) {
            const float* cosines = model_.cosines + step_.positions[token] * half;
            const float* sines = model_.sines + step_.positions[token] * half;
            bf16* head = at_.wide + token * layer.qkv.outs;
            const bf16* keys = head + model_.query_heads * width;
            for (int32_t n = 0; n < heads; ++n, head += width) {
                const Norm& norm = n < model_.query_heads ? layer.of_queries : layer.of_keys;
                if (norm.weight) norm_row(head, norm, width, head);
                rotate_head(head, width, cosines, sines);
            }
            store_token(cache, step_.rows, static_cast<int32_t>(token), keys, head);
        }
    }

    void norm_all(const Tokens& tokens, const Norm& by, const Linear& next) const {
#pragma omp for schedule(static)
        for (int64_t n = 0; n < tokens.count; ++n)
            norm(tokens.stream + n * model_.hidden, by, n, next);
    }

    // Into the `place`-th row of what `next` reads.
    void norm(const bf16* row, const Norm& by, int64_t place, const Linear& next) const {
        bf16* to = at_.normed + place * model_.hidden;
        norm_row(row, by, model_.hidden, to);
        encode(to, place, next);
    }

    void encode(const bf16* row, int64_t place, const Linear& next) const {
        if (next.kind != INT8) return;
        const int64_t groups = group_count(next.ins, next.group);
        quantise_row(row, next.ins, next.group, at_.codes + place * code_width(next.ins),
                     at_.scales + place * groups, at_.offsets + place * groups);
    }

    void multiply(const Linear& by, const bf16* rows, int64_t count, void* to, int kind) const {
        linear(by, {rows, by.ins, at_.codes, at_.scales, at_.offsets}, count, {to, by.outs, kind});
        meet();
    }

    // Until all threads are here.
    static void meet() {
#pragma omp barrier
    }

    const Model& model_;
    const Step& step_;
    const Plan& last_;
    float* logits_;
    const Scratch& at_;
};

// What is wrong with a step, before anything is read by it.
enum class Fault : int32_t { NONE, NO_MEMORY, NO_SUCH_TOKEN, NO_SUCH_POSITION, NO_SUCH_PLACE };

inline Fault fault_of(const Model& model, const Step& step) {
    const auto all_below = [](const int64_t* numbers, int64_t count, int64_t bound) {
        return std::all_of(numbers, numbers + count, [&](int64_t n) { return n >= 0 && n < bound; });
    };
    if (!all_below(step.ids, step.tokens, model.known)) return Fault::NO_SUCH_TOKEN;
    if (!all_below(step.positions, step.tokens, model.positions)) return Fault::NO_SUCH_POSITION;
    if (!all_below(step.keep, step.wanted, step.tokens)) return Fault::NO_SUCH_PLACE;
    return Fault::NONE;
}

// Computes `logits` (wanted, vocabulary).
inline Fault compute(const Model& model, const Step& step, float* logits) {
    if (const Fault fault = fault_of(model, step); fault != Fault::NONE) return fault;
    try {
        model.scratch->reserve(model, step);
        Plan some;
        const bool all = step.wanted >= step.tokens;
        if (!all) some = plan_of(*step.plan, step.keep, step.wanted);
        const Pass pass(model, step, all ? *step.plan : some, logits);
#pragma omp parallel
        pass.run();
    } catch (const std::bad_alloc&) {
        return Fault::NO_MEMORY;
    }
    return Fault::NONE;
}

}  // namespace kernels
