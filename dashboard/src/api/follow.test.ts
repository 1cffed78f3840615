import { expect, test } from "vitest";
import { EventReader, Gathered } from "./follow";

/** Guards: events are whole wherever the network cuts them, in every form of line end, and signs of life are none. */
test("events are read from pieces", () => {
  const text = 'event: ready\nid: a-1\ndata: {}\n\n:\n\nevent: look\r\ndata: {"a":\r\ndata: 1}\r\n\r\ndata\n\n';
  for (const length of [1, 2, 3, 7, text.length]) {
    const reader = new EventReader();
    const found = [];
    for (let at = 0; at < text.length; at += length) found.push(...reader.push(text.slice(at, at + length)));
    expect(found).toEqual([
      { event: "ready", id: "a-1", data: "{}" },
      { event: "look", id: null, data: '{"a":\n1}' },
      { event: "message", id: null, data: "" },
    ]);
  }
});

const part = (set: unknown[] = [], gone: string[] = []) => ({ set, gone });

/** Guards: what is not told again stays, what is gone goes, and a whole look begins anew. */
test("looks are put together from what is new", () => {
  const gathered = new Gathered();
  const stream = (key: string, client_count: number) => ({ key, client_count });
  gathered.take({ at: 1, is_whole: true, streams: part([stream("a", 1), stream("b", 2)]), engines: part([{ container_id: "e" }]), figures: part(['x{s="a b"} 1', "y 2"]) });
  const second = gathered.take({ at: 2, is_whole: false, streams: part([stream("b", 5)], ["a"]), engines: part(), figures: part(['x{s="a b"} 7'], ["y"]) });
  expect(second.streams.map(({ key, players }) => [key, players])).toEqual([["b", 5]]);
  expect(second.engines.map(({ id }) => id)).toEqual(["e"]);
  expect([second.figures.sum("x"), second.figures.sum("y")]).toEqual([7, null]);
  const whole = gathered.take({ at: 3, is_whole: true, streams: part(), engines: part(), figures: part() });
  expect([whole.streams, whole.engines]).toEqual([[], []]);
  expect(() => gathered.take({ at: 3, is_whole: true })).toThrow();
});
