/* Variables of many kinds; every instruction is stepped through by the test, so keep what runs short. */
#include <stdbool.h>
#include <stdint.h>

enum colour { RED, GREEN = 5, BLUE = 9 };
enum flags { F_ONE = 1, F_TWO = 2, F_FOUR = 4, F_ALL = 7 };
enum level { LOW = -3, HIGH = 200 };
enum wide { SMALL = 1, HUGE_VALUE = 0x123456789abcdefULL };

struct bits {
	unsigned int a : 3;
	int b : 5;
	bool c : 1;
	enum colour d : 8;
	uint64_t e : 40;
	int64_t f : 20;
};

union both {
	uint32_t word;
	uint8_t byte[4];
	struct { uint16_t lo, hi; };
};

struct point { int x; short y; };
struct pair { long first, second; };
struct big {
	struct point corner[2];
	union both u;
	struct bits bits;
	char name[12];
	const char *text;
	int (*call)(int);
	struct big *next;
	double ratio;
	struct { int deep; union { int in; float f; }; };
	unsigned char tail[];
};

volatile int sink;
static struct big global = { .name = "hello", .text = "world", .corner = { { 1, 2 }, { 3, 4 } } };

#define NOINLINE __attribute__((noinline))
#ifdef __clang__
#define OPAQUE __attribute__((noinline))
#else
#define OPAQUE __attribute__((noipa))
#endif
#define INLINE static inline __attribute__((always_inline))

OPAQUE int callee(int n) { sink = n; return n * 3; }
NOINLINE static void touch(void *p) { *(volatile char *)p; __asm__ volatile("" : : "r"(p) : "memory"); }

INLINE int clamp(int value, int limit)
{
	int over = value - limit;
	if (over > 0) {
		int back = limit - over;
		sink = back;
		return back;
	}
	return value;
}

INLINE int sum_point(const struct point *p)
{
	int total = p->x;
	total += p->y;
	return clamp(total, 100);
}

OPAQUE static int integers(int8_t i8, uint8_t u8, int16_t i16, uint16_t u16, int32_t i32, uint32_t u32,
			     int64_t i64, uint64_t u64, bool flag, char c)
{
	long acc = i8 + u8;
	acc = acc * i16 + u16;
	unsigned long mix = acc ^ u64;
	sink = i32 + (int)u32;
	if (flag) {
		int64_t inner = i64 - (long)mix;
		enum level level = inner < 0 ? LOW : HIGH;
		acc += inner + level + c;
		sink = (int)acc;
	}
	return (int)(acc + mix);
}

OPAQUE static int entry_values(int a, long b, const char *s)
{
	int kept = callee(a + 1);
	int again = callee((int)b);
	sink = s[0];
	return kept + again;
}

NOINLINE static struct pair make_pair(long a, long b)
{
	struct pair p = { a, b };
	p.first += 1;
	sink = (int)p.second;
	p.second -= a;
	return p;
}

OPAQUE static int pieces(struct pair in, struct point pt)
{
	struct pair local = make_pair(in.second, in.first);
	struct point moved = { pt.x + 1, (short)(pt.y - 1) };
	const int fixed = 42;
	static const char label[] = "label";
	int r = sum_point(&moved);
	sink = label[r & 3] + fixed;
	return (int)local.first + r + (int)local.second;
}

OPAQUE static int memory_forms(struct big *b, unsigned int n)
{
	struct bits w = b->bits;
	union both u = { .word = n };
	enum flags f = (enum flags)(n & 7);
	enum wide wd = HUGE_VALUE;
	char buffer[8];
	int array[3] = { 1, -2, (int)n };
	int matrix[2][2] = { { 1, 2 }, { 3, (int)n } };
	for (unsigned int i = 0; i < 3; i++)
		buffer[i] = (char)('a' + i);
	buffer[3] = 0;
	w.a = 5;
	w.b = -7;
	w.c = true;
	w.d = BLUE;
	w.e = 0xfedcba9876ULL;
	w.f = -12345;
	b->bits = w;
	b->call = callee;
	b->next = b;
	b->deep = array[1];
	touch(buffer);
	touch(array);
	touch(matrix);
	touch(&u);
	return u.lo + (int)f + (int)wd + b->call((int)w.a);
}

OPAQUE static double floats(float f, double d, int n)
{
	float g = f * 2.0f;
	double e = d + g;
	long double ld = e;
	if (n > 1)
		e -= (double)ld / 3;
	return e;
}

NOINLINE static int shadow(int x)
{
	int r = 0;
	for (int i = 0; i < 2; i++) {
		int x = i * 10;
		r += x;
		{
			long x = r;
			r += (int)x;
		}
		sink = r;
	}
	switch (x) {
	case 1: { int only = r + 1; sink = only; break; }
	default: { unsigned char only = (unsigned char)r; sink = only; }
	}
	return r + x;
}

OPAQUE static int dropped(int used, int unused)
{
	int never = unused * 17;
	int constant = 12;
	const struct point origin = { 3, 4 };
	const struct point *where = &origin;
	int r = sum_point(where) + constant + used;
	(void)never;
	sink = r;
	return r;
}

/* Specialised by the compiler for its only call (constprop, isra). */
NOINLINE static int special(struct point *p, int scale, int unused)
{
	int product = p->x * scale;
	int last = product + callee(product);
	sink = last;
	return last;
}

NOINLINE static long loop(const long *from, int n)
{
	long sum = 0;
	for (int i = 0; i < n; i++) {
		long item = from[i];
		int clamped = clamp((int)item, 5);
		sum += clamped;
	}
	return sum;
}

volatile int one = 1;
static const long items[] = { 3, 9, -4 };

int main(void)
{
	struct point here = { one + 6, (short)one };
	int total = integers(-5, 250, -300, 60000, -70000, 3000000000u, -1LL << 40, 0x8000000000000001ULL, true, 'q');
	total += entry_values(total, -7, global.text);
	total += pieces((struct pair){ 5, -6 }, (struct point){ 60, 70 });
	total += memory_forms(&global, 0x01020306u);
	total += (int)floats(1.5f, -2.25, 2);
	total += shadow(one);
	total += dropped(3, 4);
	total += special(&here, 3, 7);
	total += (int)loop(items, 2);
	total += clamp(total, 10);
	return total & 1;
}
