// SPDX-License-Identifier: GPL-2.0-only
/*
 * One event per executed instruction of a followed packet.
 *
 * program.py puts in front of this text: struct offsets from BTF (O_*), sizes, the selection, and the
 * compiled EXPRESSION. Nothing of the kernel's own headers but pt_regs is used, so that the program
 * compiles in seconds and on any kernel.
 *
 * A packet that is not ours costs one load per probed instruction: may there be a frame of ours on this
 * kernel stack? Only where there may be is the stack looked up, and only the entries of the probed functions
 * look at the packet.
 */

#define MAX_FRAMES 16
#define MAX_REGIONS 8
#define IP_BIAS 1
#define BUSY_SLOTS 1024
#define PACKET_SLOTS 4096

enum { NOTE_STATE = 1, NOTE_BIRTH = 2, NOTE_FREE = 3 };
enum { BY_ARGUMENT = 0, BY_FRAME = 1, BY_CALLER = 2 };
enum { ORIGIN_SEEN, ORIGIN_CLONE, ORIGIN_COPY, ORIGIN_SEGMENT, ORIGIN_FRAGMENT, ORIGIN_REASSEMBLY, ORIGIN_MERGE };
enum { FATE_CONSUMED = 0, FATE_DROPPED = 1, FATE_MERGED = 2 };
enum { LABEL_SKB = 1, LABEL_PACKET = 2, LABEL_SHARED_INFO = 3, LABEL_DEVICE = 4, LABEL_EXTRA = 5 };
enum { EVENT_STACK_UNREADABLE = 1, EVENT_STATE_LOST = 2, EVENT_AFTER_FREE = 4 };

/* How to treat one probed instruction; see program.py: Instruction flags. */
enum { I_HIDDEN = 1, I_LEAVES = 2, I_INDIRECT = 4, I_NO_SKB = 8, I_PUSH = 16 };
#define ARG_NONE 0xff
#define ARG_POINTER_TO 0x80 /* the argument is a struct sk_buff ** */

struct insn {
    u32 index;
    s32 cfa_offset;
    u32 function;
    u8 cfa_register; /* DWARF number */
    u8 flags;
    u8 argument[2]; /* position among the integer arguments */
};

struct frame {
    u64 cfa;
    u64 skb;
    u64 back; /* the return address, just below the CFA */
    u32 packet; /* 0: a frame of a function we trace, with a packet that is not ours */
    u16 function;
    u16 found_by;
};

struct stack {
    u64 depth;
    struct frame frame[MAX_FRAMES]; /* outermost first: falling CFA */
};

struct tracked {
    u32 packet;
    u32 freed; /* 0, 1, or MORPHED */
};
#define MORPHED 2

struct region {
    u64 address;
    u32 offset;
    u16 size;
    u16 label;
};

struct note {
    u32 kind;
    u32 size;
    u64 ts;
    u32 packet;
    u16 cpu;
    u16 flags;
};

struct birth {
    struct note note;
    u64 skb;
    u32 parent;
    u32 origin;
};

struct freed {
    struct note note;
    u64 skb;
    u64 location;
    u32 reason;
    u32 how;
};

struct state {
    struct note note;
    u64 id;
    u64 skb; /* from here on compared with the packet's last state */
    u64 dev;
    u32 len;
    u32 ifindex;
    u32 netns;
    u32 mark;
    char ifname[16];
    u32 link;
    u32 regions;
    struct region region[MAX_REGIONS];
    u8 skb_bytes[SKB_BYTES];
    u8 packet_bytes[SNAPLEN];
    u8 shared_info[SHARED_INFO_BYTES];
    u8 extra[EXTRA_BYTES];
};
#define STATE_FIXED offsetof(struct state, skb)
#define STATE_WORDS ((sizeof(struct state) - STATE_FIXED) / 8)

struct event {
    u64 ts;
    u64 seq;
    u64 state;
    u64 skb;
    u64 cfa;
    u32 insn;
    u32 packet;
    u32 pid;
    u16 cpu;
    u8 found_by;
    u8 flags;
    char comm[16];
    u64 regs[18];
    u8 stack[STACK_BYTES];
};

/* Where the linear part of a packet begins, and what it begins with. */
struct extent {
    u64 start;
    u32 caplen;
    u32 wirelen;
    u32 link; /* 1: Ethernet, 0: IP */
};

/* What on_emit, which both probe functions jump to, has to know. */
struct pending {
    u64 ip;
    u64 skb;
    u64 cfa;
    u32 index;
    u32 packet;
    u64 found_by;
    u64 cut; /* whether less than the whole packet is kept */
    u64 started;
};

struct scratch {
    struct pending pending;
    struct state state;
    struct stack stack;
    u8 skb[SKB_BYTES];
    u8 header[KTD_FILTER_BUFFER];
};

struct per_cpu {
    u64 seq;
    u64 lost_events;
    u64 lost_notes;
    u64 states;
    u64 deep; /* frames beyond MAX_FRAMES */
    u64 cut_packets; /* events of which not the whole packet is kept */
    u64 cut_stacks; /* events of which not the whole frame is kept */
    u64 spent; /* ns in the programs where they do more than find that a packet is not ours */
    u64 traced; /* calls by the function tracer */
    u64 unused[7]; /* counters.py: PER_CPU_BYTES; no cache line is two CPUs' */
};

BPF_HASH(insns, u64, struct insn, INSNS);
BPF_TABLE("lru_hash", u64, struct stack, stacks, 16384);
BPF_ARRAY(busy, u64, BUSY_SLOTS);
BPF_TABLE("lru_hash", u64, struct tracked, tracked, 65536);
BPF_TABLE("lru_hash", u64, u8, skipped, 65536);
BPF_ARRAY(followed, u64, PACKET_SLOTS);
BPF_ARRAY(passed, u64, PACKET_SLOTS);
BPF_TABLE("lru_hash", u32, struct state, last_state, LAST_STATES);
BPF_PERCPU_ARRAY(scratches, struct scratch, 1);
/* In memory that user space maps: counters.py says why. */
BPF_F_TABLE("array", u32, struct per_cpu, cpus, CPUS, BPF_F_MMAPABLE);
/* Identities given; packets selected, which leaves out what was made from them (clones, fragments ...). */
BPF_F_TABLE("array", u32, u64, packet_count, 2, BPF_F_MMAPABLE);
BPF_ARRAY(packet_limit, u64, 1);
/* One bit for each function number (u16) whose exits are not probed any more: prober.py. */
BPF_ARRAY(retired, u64, 1024);
BPF_ARRAY(irq_stack_top, u64, CPUS);
BPF_PROG_ARRAY(emitter, 1);
BPF_RINGBUF_OUTPUT(events, EVENT_PAGES);
BPF_RINGBUF_OUTPUT(notes, NOTE_PAGES);

/* Unrolled loops cost the compiler seconds and the program nothing but size. */
#define ROLLED _Pragma("clang loop unroll(disable)")

/* clang makes the loop a memset, which BPF has as stores one by one, 128 at most: volatile words stay a loop. */
static __always_inline void clear(u64 *words, u32 count)
{
    volatile u64 *many = words;
    u32 i;
    ROLLED
    for (i = 0; i < count; i++) {
        if (count > 128)
            many[i] = 0;
        else
            words[i] = 0;
    }
}

#define FIELD(type, base, offset) (*(type *)((u8 *)(base) + (offset)))

/* The verifier must see the bound on the very register that goes into the helper: no 32-bit copies of it. */
static __always_inline u64 at_most(u64 value, u64 most)
{
    asm volatile("" : "+r"(value));
    if (value > most)
        value = most;
    asm volatile("" : "+r"(value));
    return value;
}

/*
 * How many keys there are in a table, by a part of the key: 0 is certain, and costs a load where a look-up
 * costs a hash, which is what a packet that is not ours pays. Never too low: raised before a key is put in,
 * lowered after it was taken out. What the LRU tables throw out, and what is put in twice, leaves a slot
 * too high, which costs time and nothing else.
 *
 * In busy the keys are stacks with frames of ours; a stack runs on one CPU at a time, so nobody else puts it
 * in or takes it out meanwhile. In followed and passed they are packets of ours, and of others.
 */
static __always_inline u64 *busy_slot(u64 base)
{
    u32 slot = (base / STACK_SIZE) & (BUSY_SLOTS - 1);
    return busy.lookup(&slot);
}

static __always_inline struct stack *stack_at(u64 base)
{
    u64 *slot = busy_slot(base);
    return slot && *slot ? stacks.lookup(&base) : 0;
}

static __always_inline void keep_stack(u64 base, struct stack *stack)
{
    u64 *slot = busy_slot(base);
    if (!slot)
        return;
    __sync_fetch_and_add(slot, 1);
    if (stacks.update(&base, stack))
        __sync_fetch_and_add(slot, -1);
}

static __always_inline void let_go_of_stack(u64 base)
{
    u64 *slot = busy_slot(base);
    if (!stacks.delete(&base) && slot)
        __sync_fetch_and_add(slot, -1);
}

/* Packets lie 64 bytes apart or more; the multiplier is Knuth's (The Art of Computer Programming, 6.4). */
static __always_inline u32 packet_slot(u64 skb)
{
    return (((u32)(skb >> 6) * 2654435769u) >> 16) & (PACKET_SLOTS - 1);
}

static __always_inline struct tracked *known_packet(u64 skb)
{
    u32 slot = packet_slot(skb);
    u64 *count = followed.lookup(&slot);
    return count && *count ? tracked.lookup(&skb) : 0;
}

static __always_inline void track(u64 skb, struct tracked *entry)
{
    u32 slot = packet_slot(skb);
    u64 *count = followed.lookup(&slot);
    if (!count)
        return;
    __sync_fetch_and_add(count, 1);
    if (tracked.update(&skb, entry))
        __sync_fetch_and_add(count, -1);
}

static __always_inline int is_skipped(u64 skb)
{
    u32 slot = packet_slot(skb);
    u64 *count = passed.lookup(&slot);
    return count && *count && skipped.lookup(&skb);
}

static __always_inline void skip(u64 skb)
{
    u32 slot = packet_slot(skb);
    u64 *count = passed.lookup(&slot);
    u8 one = 1;
    if (!count)
        return;
    __sync_fetch_and_add(count, 1);
    if (skipped.update(&skb, &one))
        __sync_fetch_and_add(count, -1);
}

/* The memory is no packet's any more, or a new one's. */
static __always_inline int forget(u64 skb)
{
    u32 slot = packet_slot(skb);
    u64 *count = followed.lookup(&slot);
    if (count && *count && !tracked.delete(&skb))
        __sync_fetch_and_add(count, -1);
    count = passed.lookup(&slot);
    if (count && *count && !skipped.delete(&skb))
        __sync_fetch_and_add(count, -1);
    return 0;
}

/* A register by a constant offset: the compiler must not turn a switch into arithmetic on ctx. */
#define LOAD(field) ({ u64 loaded = (field); asm volatile("" : "+r"(loaded)); loaded; })

static __always_inline u64 read_pointer(u64 address)
{
    u64 value = 0;
    bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
    return value;
}

/*
 * Where the stack that sp is on begins. Tasks' stacks are aligned to their size; those of interrupts lie
 * together in one range, aligned to a page (arch/x86/kernel/irq_64.c: map_irq_stack).
 */
static __always_inline u64 stack_base(u64 sp)
{
    u64 base = sp & ~((u64)STACK_SIZE - 1);
    if (sp - IRQ_STACKS < IRQ_STACKS_BYTES) {
        int cpu = bpf_get_smp_processor_id();
        u64 *top = irq_stack_top.lookup(&cpu);
        if (top && *top - sp <= STACK_SIZE)
            base = *top - STACK_SIZE;
    }
    return base;
}

static __always_inline struct per_cpu *this_cpu(void)
{
    u32 cpu = bpf_get_smp_processor_id();
    return cpus.lookup(&cpu);
}

static __always_inline u32 read_u32(u64 address)
{
    u32 value = 0;
    bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
    return value;
}

static __always_inline void fill_note(struct note *note, u32 kind, u32 size, u32 packet)
{
    note->kind = kind;
    note->size = size;
    note->ts = bpf_ktime_get_boot_ns();
    note->packet = packet;
    note->cpu = bpf_get_smp_processor_id();
    note->flags = 0;
}

static __always_inline void count_lost_note(void)
{
    struct per_cpu *cpu = this_cpu();
    if (cpu)
        cpu->lost_notes++;
}

static __always_inline void tell_birth(u64 skb, u32 packet, u32 parent, u32 origin)
{
    struct birth birth = {};
    fill_note(&birth.note, NOTE_BIRTH, sizeof(birth), packet);
    birth.skb = skb;
    birth.parent = parent;
    birth.origin = origin;
    if (notes.ringbuf_output(&birth, sizeof(birth), BPF_RB_NO_WAKEUP))
        count_lost_note();
}

static __always_inline void tell_free(u64 skb, u32 packet, u64 location, u32 reason, u32 how)
{
    struct freed freed = {};
    fill_note(&freed.note, NOTE_FREE, sizeof(freed), packet);
    freed.skb = skb;
    freed.location = location;
    freed.reason = reason;
    freed.how = how;
    if (notes.ringbuf_output(&freed, sizeof(freed), BPF_RB_NO_WAKEUP))
        count_lost_note();
}

/* A new identity, or 0 where enough packets have been selected. */
static __always_inline u32 new_packet(u64 skb, u32 parent, u32 origin)
{
    u32 zero = 0, one = 1;
    u64 *count = packet_count.lookup(&zero);
    u64 *selected = packet_count.lookup(&one);
    int first = 0;
    u64 *limit = packet_limit.lookup(&first);
    if (!count || !selected || !limit)
        return 0;
    if (!parent) {
        if (*limit && *selected >= *limit)
            return 0;
        /* Several CPUs may have seen the same count. */
        if (__sync_fetch_and_add(selected, 1) >= *limit && *limit)
            return 0;
    }
    struct tracked entry = {};
    entry.packet = __sync_fetch_and_add(count, 1) + 1;
    track(skb, &entry);
    tell_birth(skb, entry.packet, parent, origin);
    return entry.packet;
}

/*
 * The first header that is certainly this packet's: the Ethernet header where the device layer has set
 * one that agrees with skb->protocol, else the network header, else the data. The offsets are relative
 * to skb->head, 0xffff is "not set" (include/linux/skbuff.h).
 */
static __always_inline int find_extent(const u8 *skb, struct extent *extent)
{
    u64 head = FIELD(u64, skb, O_HEAD);
    u64 data = FIELD(u64, skb, O_DATA);
    u32 tail = FIELD(u32, skb, O_TAIL);
    u32 mac = FIELD(u16, skb, O_MAC_HEADER);
    u32 network = FIELD(u16, skb, O_NETWORK_HEADER);
    u16 protocol = FIELD(u16, skb, O_PROTOCOL);
    u32 at_data = data - head;
    u32 start = 0;

    if (!head || !data || data < head)
        return 0;
    extent->link = 0;
    if (mac != 0xffff && mac + 14 <= tail && (mac + 14 <= at_data || mac + 14 <= network || mac == at_data)) {
        u16 type = 0;
        bpf_probe_read_kernel(&type, sizeof(type), (void *)(head + mac + 12));
        u16 host = (type >> 8) | (type << 8);
        if (type == protocol || host == 0x8100 || host == 0x88a8 || host < 0x600) {
            extent->link = 1;
            start = mac;
        }
    }
    if (!extent->link) {
        u16 host = (protocol >> 8) | (protocol << 8);
        if (host != 0x0800 && host != 0x86dd)
            return 0;
        start = network ? network : at_data;
    }
    if (start >= tail)
        return 0;
    extent->start = head + start;
    extent->caplen = tail - start;
    extent->wirelen = FIELD(u32, skb, O_LEN) + at_data - start;
    return 1;
}

static __always_inline u32 netns_of(const u8 *skb)
{
    u64 net = 0;
    u64 dev = FIELD(u64, skb, O_DEV);
    u64 sk = FIELD(u64, skb, O_SK);
    if (dev)
        net = read_pointer(dev + O_DEV_NET);
    if (!net && sk)
        net = read_pointer(sk + O_SOCK_NET);
    return net ? read_u32(net + O_NET_INUM) : 0;
}

/* 1: selected, 0: not selected, -1: the packet has no header yet, ask again later. Its mark and device are
 * set while it is made, too: what has the wrong ones before it has a header may get others. */
static __always_inline int decide(u64 address, struct scratch *s)
{
    struct extent extent = {};
    if (bpf_probe_read_kernel(s->skb, SKB_BYTES, (void *)address))
        return -1;
#if SELECT_MARK || SELECT_IFNAME || SELECT_NETNS || !KTD_FILTER_ALL
    int complete = find_extent(s->skb, &extent);
#endif
#if SELECT_MARK
    if ((FIELD(u32, s->skb, O_MARK) & MARK_MASK) != MARK_VALUE)
        return complete ? 0 : -1;
#endif
#if SELECT_IFNAME
    {
        u64 dev = FIELD(u64, s->skb, O_DEV);
        u64 name[2] = {};
        if (!dev)
            return -1;
        bpf_probe_read_kernel_str(name, sizeof(name), (void *)(dev + O_DEV_NAME));
        if (name[0] != IFNAME_LOW || name[1] != IFNAME_HIGH)
            return complete ? 0 : -1;
    }
#endif
#if SELECT_NETNS
    {
        u32 netns = netns_of(s->skb);
        if (!netns)
            return -1;
        if (netns != NETNS)
            return complete ? 0 : -1;
    }
#endif
#if !KTD_FILTER_ALL
    if (!complete)
        return -1;
    u64 caplen = at_most(extent.caplen, KTD_FILTER_SNAPLEN);
    u32 wirelen = extent.wirelen;
#if KTD_FILTER_VLAN
    if (extent.link && VLAN_PRESENT(s->skb)) {
        /* The tag that was taken out of the frame goes back to where it was on the wire (IEEE 802.1Q). */
        u64 rest = at_most(extent.caplen - 12, KTD_FILTER_SNAPLEN - 16);
        if (bpf_probe_read_kernel(s->header, 12, (void *)extent.start) ||
            bpf_probe_read_kernel(s->header + 16, rest, (void *)(extent.start + 12)))
            return -1;
        *(u16 *)(s->header + 12) = FIELD(u16, s->skb, O_VLAN_PROTO);
        *(u16 *)(s->header + 14) = __builtin_bswap16(FIELD(u16, s->skb, O_VLAN_TCI));
        caplen = rest + 16;
        wirelen += 4;
    } else
#endif
    if (bpf_probe_read_kernel(s->header, caplen, (void *)extent.start))
        return -1;
    return ktd_filter(s->header, caplen, wirelen, extent.link);
#else
    return 1;
#endif
}

/* The packet's id, 0 where it is not ours. The expression is asked once per packet. */
static __always_inline u32 identify(u64 skb, struct scratch *s)
{
    if (!skb)
        return 0;
    struct tracked *known = known_packet(skb);
    if (known)
        return known->packet;
    if (is_skipped(skb))
        return 0;
    int decision = decide(skb, s);
    if (decision < 0)
        return 0;
    if (!decision) {
        skip(skb);
        return 0;
    }
    return new_packet(skb, 0, ORIGIN_SEEN);
}

static __always_inline void add_region(struct state *state, u64 address, u32 offset, u32 size, u32 label)
{
    u32 n = state->regions & (MAX_REGIONS - 1);
    state->region[n].address = address;
    state->region[n].offset = offset;
    state->region[n].size = size;
    state->region[n].label = label;
    state->regions = n + 1;
}

/* The id of the state in force: a new note is written only where something differs from the last one. */
static __always_inline u64 snapshot(u64 skb, u32 packet, struct scratch *s, struct per_cpu *cpu)
{
    struct state *state = &s->state;
    struct state *last = last_state.lookup(&packet);
    struct extent extent = {};
    int i;

    s->pending.cut = 0;
    u64 *words = (u64 *)((u8 *)state + STATE_FIXED);
    clear(words, STATE_WORDS);
    state->skb = skb;
    bpf_probe_read_kernel(state->skb_bytes, SKB_BYTES, (void *)skb);
    state->dev = FIELD(u64, state->skb_bytes, O_DEV);
    state->len = FIELD(u32, state->skb_bytes, O_LEN);
    state->mark = FIELD(u32, state->skb_bytes, O_MARK);
    if (last && last->dev == state->dev && last->netns) {
        state->ifindex = last->ifindex;
        state->netns = last->netns;
        ((u64 *)state->ifname)[0] = ((u64 *)last->ifname)[0];
        ((u64 *)state->ifname)[1] = ((u64 *)last->ifname)[1];
    } else {
        state->netns = netns_of(state->skb_bytes);
        if (state->dev) {
            state->ifindex = read_u32(state->dev + O_DEV_IFINDEX);
            bpf_probe_read_kernel(state->ifname, 16, (void *)(state->dev + O_DEV_NAME));
        }
    }
    add_region(state, skb, offsetof(struct state, skb_bytes), SKB_STRUCT, LABEL_SKB);
    if (state->dev)
        add_region(state, state->dev + O_DEV_NAME, offsetof(struct state, ifname), 16, LABEL_DEVICE);
    if (find_extent(state->skb_bytes, &extent)) {
        u64 size = at_most(extent.caplen, SNAPLEN);
        state->link = extent.link;
        s->pending.cut = size < extent.wirelen;
        if (!bpf_probe_read_kernel(state->packet_bytes, size, (void *)extent.start))
            add_region(state, extent.start, offsetof(struct state, packet_bytes), size, LABEL_PACKET);
    }
    u64 end = FIELD(u64, state->skb_bytes, O_HEAD);
    if (end) {
        end += FIELD(u32, state->skb_bytes, O_END);
        if (!bpf_probe_read_kernel(state->shared_info, SHARED_INFO_BYTES, (void *)end))
            add_region(state, end, offsetof(struct state, shared_info), SHARED_INFO_BYTES, LABEL_SHARED_INFO);
    }
    CAPTURE_EXTRA

    if (last && last->id) {
        u64 *before = (u64 *)((u8 *)last + STATE_FIXED);
        u64 differs = 0;
        ROLLED
        for (i = 0; i < STATE_WORDS; i++)
            differs |= words[i] ^ before[i];
        if (!differs)
            return last->id;
    }
    fill_note(&state->note, NOTE_STATE, sizeof(*state), packet);
    state->id = ((u64)(state->note.cpu + 1) << 48) | ++cpu->states;
    if (notes.ringbuf_output(state, sizeof(*state), BPF_RB_NO_WAKEUP)) {
        cpu->lost_notes++;
        state->id = 0;
    }
    last_state.update(&packet, state);
    return state->id;
}

static __always_inline void spend(u64 started)
{
    struct per_cpu *cpu = this_cpu();
    if (cpu)
        cpu->spent += bpf_ktime_get_ns() - started;
}

static __always_inline int record(struct pt_regs *ctx)
{
    int zero = 0;
    struct scratch *s = scratches.lookup(&zero);
    struct per_cpu *cpu = this_cpu();
    if (!s || !cpu)
        return 0;
    u64 skb = s->pending.skb;
    u32 packet = s->pending.packet;
    u64 seq = ++cpu->seq;
    u64 state = 0;
    u64 cut = 0;
    u8 flags = 0;
    struct tracked *known = known_packet(skb);
    if (known && (known->freed || known->packet != packet)) {
        /* The memory may be another packet's by now: what was known last stays. */
        struct state *last = last_state.lookup(&packet);
        flags |= EVENT_AFTER_FREE;
        if (last)
            state = last->id;
    } else {
        state = snapshot(skb, packet, s, cpu);
        cut = s->pending.cut;
    }
    struct event *e = events.ringbuf_reserve(sizeof(struct event));
    if (!e) {
        cpu->lost_events++;
        spend(s->pending.started);
        return 0;
    }
    e->ts = bpf_ktime_get_boot_ns();
    e->seq = seq;
    e->state = state;
    e->skb = skb;
    e->cfa = s->pending.cfa;
    e->insn = s->pending.index;
    e->packet = packet;
    e->pid = (u32)bpf_get_current_pid_tgid();
    e->cpu = bpf_get_smp_processor_id();
    e->found_by = s->pending.found_by;
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    e->regs[0] = ctx->ax;
    e->regs[1] = ctx->dx;
    e->regs[2] = ctx->cx;
    e->regs[3] = ctx->bx;
    e->regs[4] = ctx->si;
    e->regs[5] = ctx->di;
    e->regs[6] = ctx->bp;
    e->regs[7] = ctx->sp;
    e->regs[8] = ctx->r8;
    e->regs[9] = ctx->r9;
    e->regs[10] = ctx->r10;
    e->regs[11] = ctx->r11;
    e->regs[12] = ctx->r12;
    e->regs[13] = ctx->r13;
    e->regs[14] = ctx->r14;
    e->regs[15] = ctx->r15;
    e->regs[16] = s->pending.ip;
    e->regs[17] = ctx->flags;
    if (!state)
        flags |= EVENT_STATE_LOST;
    u64 sp = ctx->sp;
    u64 room = at_most(stack_base(sp) + STACK_SIZE - sp, STACK_BYTES);
    if (room < STACK_BYTES) {
        /* Near the top of the stack the window is shorter; the rest reads as zero. */
        clear((u64 *)e->stack, STACK_BYTES / 8);
        if (bpf_probe_read_kernel(e->stack, room, (void *)sp))
            flags |= EVENT_STACK_UNREADABLE;
    } else if (bpf_probe_read_kernel(e->stack, STACK_BYTES, (void *)sp)) {
        flags |= EVENT_STACK_UNREADABLE;
    }
    e->flags = flags;
    cpu->cut_packets += cut;
    cpu->cut_stacks += flags & EVENT_STACK_UNREADABLE || s->pending.cfa > sp + STACK_BYTES;
    events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
    spend(s->pending.started);
    return 0;
}

static __always_inline void emit(struct pt_regs *ctx, u64 ip, u32 index, u64 skb, u32 packet, u64 cfa,
                                 u32 found_by, u64 started, struct scratch *s, int tracer)
{
    s->pending.started = started;
    s->pending.ip = ip;
    s->pending.skb = skb;
    s->pending.cfa = cfa;
    s->pending.index = index;
    s->pending.packet = packet;
    s->pending.found_by = found_by;
    if (tracer)
        record(ctx);
    else
        emitter.call(ctx, 0);
}

/*
 * The longest part of the program, once: on_entry and on_instruction end here for a packet of ours. The
 * kernel lets only programs of the very same kind jump to each other, so on_entry_multi has its own copy.
 */
int on_emit(struct pt_regs *ctx)
{
    return record(ctx);
}

static __always_inline u64 argument(struct pt_regs *ctx, u8 position)
{
    u64 value = 0;
    switch (position & ~ARG_POINTER_TO) {
    case 0: value = LOAD(ctx->di); break;
    case 1: value = LOAD(ctx->si); break;
    case 2: value = LOAD(ctx->dx); break;
    case 3: value = LOAD(ctx->cx); break;
    case 4: value = LOAD(ctx->r8); break;
    case 5: value = LOAD(ctx->r9); break;
    }
    return (position & ARG_POINTER_TO) && value ? read_pointer(value) : value;
}

/* How many frames of this stack are further out than a frame at cfa; the others have ended. */
static __always_inline u32 frames_outside(struct stack *stack, u64 cfa)
{
    u32 n = 0;
    int i;
    ROLLED
    for (i = 0; i < MAX_FRAMES; i++) {
        if (i >= stack->depth || stack->frame[i].cfa <= cfa)
            break;
        n = i + 1;
    }
    return n;
}

static __always_inline void push(struct stack *stack, u32 at, u64 cfa, u64 skb, u32 packet, u32 function, u32 found_by)
{
    if (at >= MAX_FRAMES) {
        struct per_cpu *cpu = this_cpu();
        if (cpu)
            cpu->deep++;
        return;
    }
    struct frame *frame = &stack->frame[at & (MAX_FRAMES - 1)];
    frame->cfa = cfa;
    frame->skb = skb;
    frame->packet = packet;
    frame->function = function;
    frame->found_by = found_by;
    frame->back = read_pointer(cfa - 8);
    stack->depth = at + 1;
}

/*
 * Whether a frame may still lend its packet. The end of a frame can go unseen (a probe was missed, the kernel
 * keeps a tail call for itself); what came after it has then overwritten its return address. That of a living
 * frame is changed only by who wants to see the return.
 */
static __always_inline int is_alive(struct frame *frame)
{
    u64 back = read_pointer(frame->cfa - 8);
    return back == frame->back || back == RETHOOK || back == RETURN_HANDLER;
}

/*
 * Entries of probed functions: here, and only here, a packet is recognised. ip is the key in insns; where
 * the function tracer calls us it is the function's address, and insn->cfa_offset leads to the instruction.
 */
static __always_inline int enter(struct pt_regs *ctx, u64 ip, int tracer)
{
    int zero = 0;
    struct insn *insn = insns.lookup(&ip);
    if (!insn)
        return 0;
    struct scratch *s = scratches.lookup(&zero);
    if (!s)
        return 0;
    u64 started = bpf_ktime_get_ns();
    u64 cfa = ctx->sp + 8;
    u64 base = stack_base(ctx->sp);
    struct stack *stack = stack_at(base);
    u64 skb = 0;
    u32 packet = 0;
    u32 found_by = BY_ARGUMENT;

    if (insn->flags & I_NO_SKB) {
        if (!stack)
            return 0;
        u32 outside = frames_outside(stack, cfa);
        int i;
        ROLLED
        for (i = 0; i < MAX_FRAMES; i++) {
            if (!outside || is_alive(&stack->frame[(outside - 1) & (MAX_FRAMES - 1)]))
                break;
            outside--;
        }
        stack->depth = outside;
        if (!outside)
            return 0;
        struct frame *caller = &stack->frame[(outside - 1) & (MAX_FRAMES - 1)];
        int word = caller->function / 64;
        u64 *gone = retired.lookup(&word);
        if (gone && *gone >> (caller->function % 64) & 1)
            return 0;
        skb = caller->skb;
        packet = caller->packet;
        found_by = BY_CALLER;
    } else {
        int i;
        ROLLED
        for (i = 0; i < 2; i++) {
            /* A loop, so that the compiled expression stands in the program once. */
            u8 position = insn->argument[i & 1];
            if (position == ARG_NONE)
                break;
            u64 candidate = argument(ctx, position);
            packet = identify(candidate, s);
            if (packet || !skb)
                skb = candidate;
            if (packet)
                break;
        }
    }
    if ((insn->flags & (I_PUSH | I_LEAVES)) == I_PUSH) {
        if (stack) {
            /* A packet that is not ours gets a frame too, so that what it calls is not taken for ours. */
            push(stack, frames_outside(stack, cfa), cfa, skb, packet, insn->function, found_by);
        } else if (packet) {
            struct stack *fresh = &s->stack;
            fresh->depth = 0;
            push(fresh, 0, cfa, skb, packet, insn->function, found_by);
            keep_stack(base, fresh);
        }
    }
    if (packet && !(insn->flags & I_HIDDEN))
        emit(ctx, tracer ? ip + insn->cfa_offset : ip, insn->index, skb, packet, cfa, found_by, started, s,
             tracer);
    else
        spend(started);
    return 0;
}

int on_entry(struct pt_regs *ctx)
{
    return enter(ctx, ctx->ip - IP_BIAS, 0);
}

#if MULTI
/* The same, called by the function tracer for thousands of functions at once (capture/multi.py). */
int on_entry_multi(struct pt_regs *ctx)
{
    struct per_cpu *cpu = this_cpu();
    if (cpu)
        cpu->traced++;
    return enter(ctx, bpf_get_func_ip(ctx), 1);
}
#endif

/* Every other probed instruction: whose frame is this? */
int on_instruction(struct pt_regs *ctx)
{
    int zero = 0;
    u64 base = stack_base(ctx->sp);
    struct stack *stack = stack_at(base);
    if (!stack)
        return 0;
    u64 ip = ctx->ip - IP_BIAS;
    struct insn *insn = insns.lookup(&ip);
    if (!insn)
        return 0;
    u64 cfa = insn->cfa_offset;
    switch (insn->cfa_register) {
    case 7: cfa += LOAD(ctx->sp); break;
    case 6: cfa += LOAD(ctx->bp); break;
    case 10: cfa += LOAD(ctx->r10); break;
    case 13: cfa += LOAD(ctx->r13); break;
    case 5: cfa += LOAD(ctx->di); break;
    case 1: cfa += LOAD(ctx->dx); break;
    default: return 0;
    }
    if (insn->flags & I_INDIRECT)
        cfa = read_pointer(cfa);
    u32 outside = frames_outside(stack, cfa);
    if (outside >= MAX_FRAMES || outside >= stack->depth)
        return 0;
    struct frame *frame = &stack->frame[outside & (MAX_FRAMES - 1)];
    if (frame->cfa != cfa || frame->function != (u16)insn->function)
        return 0;
    u64 skb = frame->skb;
    u32 packet = frame->packet;
    u32 found_by = frame->found_by == BY_CALLER ? BY_CALLER : BY_FRAME;
    u32 leaves = insn->flags & I_LEAVES;

    stack->depth = leaves ? outside : outside + 1;
    u32 index = insn->index;
    u32 hidden = insn->flags & I_HIDDEN;
    if (leaves && !outside)
        let_go_of_stack(base);
    if (packet && !hidden) {
        struct scratch *s = scratches.lookup(&zero);
        if (s)
            emit(ctx, ip, index, skb, packet, cfa, found_by, bpf_ktime_get_ns(), s, 0);
    }
    return 0;
}

/* __copy_skb_header(new, old): clone, copy, segment and morph all come through here. */
int on_copy(struct pt_regs *ctx)
{
    u64 new = ctx->di;
    u64 old = ctx->si;
    struct tracked *parent = known_packet(old);
    struct tracked *before = known_packet(new);
    u32 id = parent && !parent->freed ? parent->packet : 0;
    u32 morphed = before && before->freed == MORPHED;
    forget(new);
    if (id) {
        u64 caller = read_pointer(ctx->sp);
        u32 origin = ORIGIN_CLONE;
        COPY_ORIGINS
        if (morphed)
            origin = ORIGIN_REASSEMBLY;
        new_packet(new, id, origin);
    }
    return 0;
}

/* ip_copy_metadata(to, from), ip6_copy_metadata: fragments of a packet. */
int on_fragment(struct pt_regs *ctx)
{
    u64 new = ctx->di;
    u64 old = ctx->si;
    struct tracked *parent = known_packet(old);
    if (parent && !parent->freed)
        new_packet(new, parent->packet, ORIGIN_FRAGMENT);
    return 0;
}

/* skb_gro_receive(p, skb): skb's data goes on in p. */
int on_merge(struct pt_regs *ctx)
{
    u64 into = ctx->di;
    u64 skb = ctx->si;
    struct tracked *from = known_packet(skb);
    if (!from || from->freed)
        return 0;
    u32 id = from->packet;
    from->freed = 1;
    struct tracked *whole = known_packet(into);
    u32 target = whole ? whole->packet : new_packet(into, id, ORIGIN_MERGE);
    tell_free(skb, id, read_pointer(ctx->sp), target, FATE_MERGED);
    return 0;
}

/* __build_skb_around(skb, ...): the memory is a new packet's from here on. */
int on_build(struct pt_regs *ctx)
{
    return forget(ctx->di);
}

/* The end of slab_build_skb, which returns a packet it has made without __build_skb_around. */
int on_built(struct pt_regs *ctx)
{
    return forget(ctx->ax);
}

/* napi_reuse_skb(napi, skb): the packet's data went on in another one, the driver takes its skb for the next. */
int on_reuse(struct pt_regs *ctx)
{
    return forget(ctx->si);
}

/* skb_release_head_state(skb): the last stop of every way to free a packet, also of the silent ones. */
int on_release(struct pt_regs *ctx)
{
    u64 skb = ctx->di;
    struct tracked *known = known_packet(skb);
    if (known && !known->freed) {
        u64 caller = read_pointer(ctx->sp);
        /* skb_morph(dst, src): dst's memory goes on as another packet (a reassembled datagram). */
        u32 morph = caller >= MORPH_START && caller < MORPH_END;
        known->freed = morph ? MORPHED : 1;
        tell_free(skb, known->packet, caller, 0, morph ? FATE_MERGED : FATE_CONSUMED);
    }
    return 0;
}

int on_kfree_skb(struct bpf_raw_tracepoint_args *ctx)
{
    u64 skb = ctx->args[0];
    struct tracked *known = known_packet(skb);
    if (known && !known->freed) {
        known->freed = 1;
        tell_free(skb, known->packet, ctx->args[1], KFREE_HAS_REASON ? (u32)ctx->args[2] : 0, FATE_DROPPED);
    }
    return 0;
}

int on_consume_skb(struct bpf_raw_tracepoint_args *ctx)
{
    u64 skb = ctx->args[0];
    struct tracked *known = known_packet(skb);
    if (known && !known->freed) {
        known->freed = 1;
        tell_free(skb, known->packet, CONSUME_HAS_LOCATION ? ctx->args[1] : 0, 0, FATE_CONSUMED);
    }
    return 0;
}
