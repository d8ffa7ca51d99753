// The byte queue against plain concatenation.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ByteQueue } from './byte-queue.ts';

void describe('a byte queue', () => {
  void it('gives back what went in, whatever the sizes', () => {
    const chunks = fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 200 });
    fc.assert(
      fc.property(chunks, fc.infiniteStream(fc.integer({ min: 1, max: 30 })), (input, sizes) => {
        const queue = new ByteQueue();
        const scratch = Buffer.alloc(30);
        const taken: Buffer[] = [];
        for (const chunk of input) {
          queue.push(chunk);
          const { value: size } = sizes.next();
          if (size > queue.length) continue;
          const first = queue.peek(0);
          const bytes = Buffer.from(queue.take(size, scratch));
          assert.equal(bytes[0], first);
          assert.equal(bytes.length, size);
          taken.push(bytes);
        }
        const last = queue.length > 0 ? queue.peek(queue.length - 1) : undefined;
        taken.push(...queue.takePieces(queue.length).map((piece) => Buffer.from(piece)));
        const all = Buffer.concat(taken);
        assert.equal(queue.length, 0);
        assert(all.equals(Buffer.concat(input)));
        if (last !== undefined) assert.equal(all.at(-1), last);
      }),
    );
  });

  void it('copies only what straddles two chunks', () => {
    const queue = new ByteQueue();
    const scratch = Buffer.alloc(8);
    const chunk = Buffer.from('abcdef');
    queue.push(chunk);
    queue.push(Buffer.alloc(0));
    queue.push(Buffer.from('gh'));
    assert.equal(queue.take(4, scratch).buffer, chunk.buffer);
    const copied = queue.take(4, scratch);
    assert.equal(copied.buffer, scratch.buffer);
    assert.equal(copied.toString(), 'efgh');
    assert.equal(queue.peek(0), undefined);
  });
});
