// What a stream is called: its channel's name, or what its engine calls it; in any case the beginning of its id.
import { useEffect } from "react";
import type { Stream } from "../api/model";
import { short } from "../format/text";
import { useStore } from "../stores/store";
import { useServices } from "./context";

/** `null` while nobody knows. An engine knows what it plays once it plays it. */
export function useTitle(stream: Stream | null): string | null {
  const { titles } = useServices();
  const id = stream?.streamId ?? null;
  const known = useStore(titles.known, (all) => (id === null ? null : (all.get(id) ?? null)));
  const isOpen = stream !== null && stream.channel === null && stream.startedAt !== null && known === null;
  useEffect(() => (isOpen && id !== null ? titles.want(id) : undefined), [titles, id, isOpen]);
  return stream?.channel?.name ?? known;
}

export function StreamName({ stream }: { stream: Stream }) {
  const title = useTitle(stream);
  if (title === null) return <code className="id">{short(stream.id)}</code>;
  return (
    <>
      <bdi>{title}</bdi> <code className="id name-id">{short(stream.id).slice(0, 8)}</code>
    </>
  );
}
