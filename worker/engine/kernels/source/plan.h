// Which tokens of a step are computed together, by one thread, over keys that they have in common.

#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "paging.h"

namespace kernels {

// One token that attends.
struct Asking {
    int32_t place;  // in the step
    int32_t row;
    int32_t position;  // in its sequence; it sees no later one
};

// Tokens that one thread computes together, head by head: neighbours in a chunk, or the single
// tokens of rows that begin with the same blocks.
struct Company {
    int32_t first, count;  // in `Plan::tokens`
    int32_t shared;        // positions, whole spans, whose blocks all of them have in common
    int64_t work;          // positions that all of them see, added up
};

struct Plan {
    std::vector<Asking> tokens;
    std::vector<Company> companies;  // those that take longest first

    void add(int32_t place, int32_t row, int32_t position) {
        tokens.push_back({place, row, position});
    }
    // The last `count` tokens become a company.
    void join(int32_t count, int32_t shared) {
        const int32_t end = static_cast<int32_t>(tokens.size());
        int64_t work = 0;
        for (int32_t i = end - count; i < end; ++i)
            work += tokens[static_cast<size_t>(i)].position + 1;
        companies.push_back({end - count, count, shared, work});
    }
};

constexpr int CHUNK_TOKENS = 16;    // of a chunk, in a company
constexpr int FAMILY_TOKENS = 32;   // of rows that share blocks, in a company, at most
constexpr int SHARED_LEAST = SPAN;  // positions; fewer are as quickly read by each row

// Whole spans, in positions, that two rows hold in the same blocks and their tokens see.
inline int32_t shared_positions(const Rows& rows, int32_t one, int32_t other) {
    const int32_t seen = std::min(rows.firsts[one], rows.firsts[other]) + 1;
    const int32_t most = seen / SPAN * SPAN_BLOCKS;
    const int32_t *left = rows.blocks(one), *right = rows.blocks(other);
    const int32_t equal = static_cast<int32_t>(std::mismatch(left, left + most, right).first - left);
    return equal / SPAN_BLOCKS * SPAN;
}

// Makes companies of equal size, at most `most` each, of the rows singles[begin .. end).
inline void add_family(const Rows& rows, const std::vector<int32_t>& singles, size_t begin,
                       size_t end, int32_t shared, size_t most, Plan& plan) {
    const size_t parts = (end - begin + most - 1) / most;
    for (size_t part = 0; part < parts; ++part) {
        const size_t from = begin + (end - begin) * part / parts;
        const size_t to = begin + (end - begin) * (part + 1) / parts;
        for (size_t i = from; i < to; ++i)
            plan.add(rows.starts[singles[i]], singles[i], rows.firsts[singles[i]]);
        plan.join(static_cast<int32_t>(to - from), to - from > 1 ? shared : 0);
    }
}

// Divides rows of one token each into families. Rows that begin with the same blocks are
// neighbours once sorted by these. A row joins the family before it, unless sharing what it too
// has in common with the family would save less reading than the family saves without it.
inline void add_families(const Rows& rows, std::vector<int32_t>& singles, Plan& plan) {
    std::sort(singles.begin(), singles.end(), [&](int32_t one, int32_t other) {
        const int32_t *left = rows.blocks(one), *right = rows.blocks(other);
        return std::lexicographical_compare(left, left + rows.firsts[one] / BLOCK + 1,  //
                                            right, right + rows.firsts[other] / BLOCK + 1);
    });
    const size_t threads = static_cast<size_t>(omp_get_max_threads());
    const size_t fair = (singles.size() + threads - 1) / threads;
    const size_t most = std::clamp<size_t>(fair, 4, FAMILY_TOKENS);
    size_t begin = 0;
    int32_t shared = 0;  // positions that all of singles[begin .. i) have in common
    for (size_t i = 1; i <= singles.size(); ++i) {
        const int64_t members = static_cast<int64_t>(i - begin);
        int32_t joint = 0;
        if (i < singles.size()) joint = shared_positions(rows, singles[i - 1], singles[i]);
        if (members > 1) joint = std::min(joint, shared);
        if (joint >= SHARED_LEAST && joint * members >= shared * (members - 1)) {
            shared = joint;
        } else {
            add_family(rows, singles, begin, i, shared, members > 1 ? most : 1, plan);
            begin = i;
            shared = 0;
        }
    }
}

// Neighbours in a chunk share all blocks: those of the last of them.
inline void add_chunk(const Rows& rows, int32_t row, Plan& plan) {
    const int32_t length = rows.length(row);
    for (int32_t done = 0; done < length; done += CHUNK_TOKENS) {
        const int32_t count = std::min(CHUNK_TOKENS, length - done);
        for (int32_t i = done; i < done + count; ++i)
            plan.add(rows.starts[row] + i, row, rows.firsts[row] + i);
        const int32_t end = rows.firsts[row] + done + count;
        plan.join(count, (end + SPAN - 1) / SPAN * SPAN);
    }
}

// Made once a step, before its layers. It decides which thread does what, and in which order,
// never what comes out.
inline Plan make_plan(const Rows& rows) {
    Plan plan;
    plan.tokens.reserve(static_cast<size_t>(rows.tokens()));
    std::vector<int32_t> singles;
    for (int32_t row = 0; row < rows.count; ++row) {
        if (rows.length(row) == 1)
            singles.push_back(row);
        else
            add_chunk(rows, row, plan);
    }
    add_families(rows, singles, plan);
    std::stable_sort(
        plan.companies.begin(), plan.companies.end(),
        [](const Company& one, const Company& other) { return one.work > other.work; });
    return plan;
}

// The same for some of its tokens only, those at the places `keep` of the step.
inline Plan plan_of(const Plan& all, const int64_t* keep, int64_t wanted) {
    std::vector<bool> kept(all.tokens.size());
    for (int64_t n = 0; n < wanted; ++n) kept[static_cast<size_t>(keep[n])] = true;
    Plan some;
    for (const Company& company : all.companies) {
        const size_t before = some.tokens.size();
        for (int32_t i = company.first; i < company.first + company.count; ++i) {
            const Asking& token = all.tokens[static_cast<size_t>(i)];
            if (kept[static_cast<size_t>(token.place)]) some.tokens.push_back(token);
        }
        if (some.tokens.size() > before)
            some.join(static_cast<int32_t>(some.tokens.size() - before), company.shared);
    }
    return some;
}

}  // namespace kernels
