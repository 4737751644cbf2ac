import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ExtentSet } from '../../../../src/cache/content/extents.js';
import { LinkMeter, ReadAhead } from '../../../../src/cache/read_ahead.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

/** Reads [from, to) in steps and returns what was fetched ahead. */
function sweep(ahead: ReadAhead, from: number, to: number, step: number, size: number) {
  const asked: { start: number; end: number }[] = [];
  for (let at = from; at < to; at += step) {
    const range = ahead.onRead(at, step, size);
    if (range !== null) asked.push(range);
  }
  return asked;
}

describe('ReadAhead', () => {
  it('fetches nothing with the first read', () => {
    expect(new ReadAhead().onRead(0, 128 * KiB, GiB)).toBeNull();
  });

  it('starts with the second and doubles up to the limit', () => {
    const asked = sweep(new ReadAhead(), 0, 200 * MiB, 128 * KiB, GiB);
    expect(asked[0]).toEqual({ start: 256 * KiB, end: 512 * KiB });
    const windows = asked.map((range) => range.end - range.start);
    expect(Math.max(...windows)).toBeLessThanOrEqual(32 * MiB);
    expect(asked.at(-1)?.end).toBeGreaterThan(200 * MiB);
    // Gapless and without overlap.
    for (const [i, range] of asked.entries()) if (i > 0) expect(range.start).toBe(asked[i - 1]?.end);
  });

  it('keeps at least half a full window ahead of a steady reader', () => {
    const ahead = new ReadAhead({ max_bytes: 8 * MiB });
    sweep(ahead, 0, 64 * MiB, 128 * KiB, GiB);
    let askedTo = 0;
    for (let at = 64 * MiB; at < 128 * MiB; at += 128 * KiB) {
      askedTo = ahead.onRead(at, 128 * KiB, GiB)?.end ?? askedTo;
      if (askedTo > 0) expect(askedTo - at).toBeGreaterThanOrEqual(4 * MiB);
    }
    expect(askedTo).toBeGreaterThan(128 * MiB);
  });

  it('stops at the end of the file', () => {
    const size = 3 * MiB + 777;
    const asked = sweep(new ReadAhead(), 0, size, 128 * KiB, size);
    expect(asked.at(-1)?.end).toBe(size);
    expect(new ReadAhead().onRead(size, 4096, size)).toBeNull();
  });

  it('fetches nothing for random reads, or next to nothing when two happen to meet', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: (4 * GiB) / 4096 - 1 }), { maxLength: 200 }), (pages) => {
        const ahead = new ReadAhead();
        const sorted = [...pages].sort((a, b) => a - b);
        const neighbours = sorted.filter((page, i) => i > 0 && page === (sorted[i - 1] ?? 0) + 1).length;
        let bytes = 0;
        for (const page of pages) {
          const range = ahead.onRead(page * 4096, 4096, 4 * GiB);
          if (range !== null) bytes += range.end - range.start;
        }
        if (neighbours === 0) expect(bytes).toBe(0);
      }),
    );
  });

  it('does not take a backward or a strided reader for a sequential one', () => {
    const backward = new ReadAhead();
    for (let at = 64 * MiB; at > 0; at -= 128 * KiB) expect(backward.onRead(at, 128 * KiB, GiB)).toBeNull();
    const strided = new ReadAhead();
    for (let at = 0; at < 64 * MiB; at += MiB) expect(strided.onRead(at, 4096, GiB)).toBeNull();
  });

  it('follows several streams in one file', () => {
    const ahead = new ReadAhead();
    const ends = [0, 0, 0];
    const starts = [0, 200 * MiB, 500 * MiB];
    for (let step = 0; step < 400; step++) {
      for (const [i, start] of starts.entries()) {
        const range = ahead.onRead(start + step * 64 * KiB, 64 * KiB, GiB);
        if (range !== null) {
          expect(range.start).toBeGreaterThanOrEqual(start);
          ends[i] = range.end;
        }
      }
    }
    for (const [i, start] of starts.entries()) expect((ends[i] ?? 0) - start).toBeGreaterThan(400 * 64 * KiB);
  });

  it('bears requests of one stream in another order', () => {
    const ahead = new ReadAhead();
    sweep(ahead, 0, 4 * MiB, 128 * KiB, GiB);
    let askedTo = 0;
    for (let at = 4 * MiB; at < 40 * MiB; at += 512 * KiB) {
      for (const shift of [128, 0, 384, 256]) {
        askedTo = Math.max(askedTo, ahead.onRead(at + shift * KiB, 128 * KiB, GiB)?.end ?? 0);
      }
    }
    expect(askedTo).toBeGreaterThan(56 * MiB);
  });

  it('asks for no byte twice in one stream and never outside the file', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 63 }), fc.integer({ min: 1, max: 8 })), { maxLength: 100 }),
        (reads) => {
          const size = 64 * MiB + 12_345;
          const ahead = new ReadAhead();
          const asked = new ExtentSet();
          for (const [place, count] of reads) {
            let at = place * MiB;
            for (let i = 0; i < count; i++, at += 128 * KiB) {
              const range = ahead.onRead(at, 128 * KiB, size);
              if (range === null) continue;
              expect(range.start).toBeGreaterThanOrEqual(at);
              expect(range.end).toBeGreaterThan(range.start);
              expect(range.end).toBeLessThanOrEqual(size);
              asked.insert(range.start, range.end);
            }
          }
          expect(asked.presentBytes).toBeLessThanOrEqual(size);
        },
      ),
    );
  });
});

describe('LinkMeter', () => {
  const link = (latency_ms: number, bytesPerSecond: number) => {
    const meter = new LinkMeter();
    for (let i = 0; i < 20; i++) {
      meter.record({ latency_ms, bytes: 4 * MiB, duration_ms: (4 * MiB * 1000) / bytesPerSecond });
    }
    return meter;
  };

  it('chooses small requests where a request costs little, big ones where it costs much', () => {
    expect(new LinkMeter().chunk_bytes).toBe(4 * MiB);
    expect(link(1, 10 * MiB).chunk_bytes).toBe(MiB);
    expect(link(50, 10 * MiB).chunk_bytes).toBe(4 * MiB);
    expect(link(200, 100 * MiB).chunk_bytes).toBe(8 * MiB);
  });

  it('learns a change', () => {
    const meter = link(1, MiB);
    for (let i = 0; i < 20; i++) meter.record({ latency_ms: 300, bytes: 4 * MiB, duration_ms: 50 });
    expect(meter.chunk_bytes).toBe(8 * MiB);
    expect(meter.latency_ms).toBeGreaterThan(250);
  });

  it('takes no speed from an answer that fits into buffers, and nothing from an empty one', () => {
    const meter = new LinkMeter();
    meter.record({ latency_ms: 10, bytes: 1000, duration_ms: 0.01 });
    expect(meter.bytesPerSecond).toBeNull();
    meter.record({ latency_ms: 10_000, bytes: 0, duration_ms: 5 });
    expect(meter.latency_ms).toBe(10);
  });
});
