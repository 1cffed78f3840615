// A long table of which only what is seen is drawn. Rows have one height, columns give way by priority as the table gets
// narrower, and on a phone each row is a card. Keys: up and down go through rows, Enter opens one, Space selects it.
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { memo, useEffect, useLayoutEffect, useMemo, useRef, useState, type CSSProperties, type KeyboardEvent, type ReactNode, type RefObject } from "react";
import { t } from "../messages";
import { Icon } from "./icon";

export interface Column<T> {
  key: string;
  head: string;
  cell: (row: T) => ReactNode;
  /** What to sort by; `null` sorts last either way. Without it the column is not sorted. */
  sort?: (row: T) => string | number | null;
  /** Whether a first click puts the largest on top. */
  largestFirst?: boolean;
  isNumber?: boolean;
  /** A track of the grid, such as `minmax(8rem, 1fr)`. */
  width: string;
  /** Least width of the table, in pixels, at which the column is shown. */
  from?: number;
  /** Where it stands on a phone's card: first line, second line, or nowhere. */
  card?: "head" | "body" | "none";
}

export interface Sorting {
  key: string;
  isDescending: boolean;
}

/** `players-` is by players, largest first. */
export function sortingOf(text: string, fallback: Sorting): Sorting {
  const match = /^([a-z]+)(-?)$/i.exec(text);
  return match ? { key: match[1] ?? fallback.key, isDescending: match[2] === "-" } : fallback;
}

export function sortingText({ key, isDescending }: Sorting): string {
  return `${key}${isDescending ? "-" : ""}`;
}

export function sorted<T>(rows: readonly T[], columns: Column<T>[], sorting: Sorting, tie: (row: T) => string): T[] {
  const by = columns.find((column) => column.key === sorting.key)?.sort;
  const keyed = rows.map((row) => ({ row, key: by ? by(row) : null, tie: tie(row) }));
  const sign = sorting.isDescending ? -1 : 1;
  keyed.sort((one, other) => {
    if (one.key === null || other.key === null) {
      if (one.key !== other.key) return one.key === null ? 1 : -1;
    } else if (one.key !== other.key) return one.key < other.key ? -sign : sign;
    return one.tie < other.tie ? -1 : one.tie > other.tie ? 1 : 0;
  });
  return keyed.map(({ row }) => row);
}

const ROW_PX = 38;
const CARD_PX = 84;
const CARDS_BELOW_PX = 640;

export interface Selection {
  has: (key: string) => boolean;
  toggle: (key: string) => void;
  all: boolean;
  toggleAll: () => void;
  label: (key: string) => string;
}

export function Table<T>({
  label,
  rows,
  rowKey,
  columns,
  sorting,
  onSort,
  onOpen,
  selection,
}: {
  label: string;
  rows: readonly T[];
  rowKey: (row: T) => string;
  columns: Column<T>[];
  sorting: Sorting;
  onSort: (sorting: Sorting) => void;
  onOpen?: (row: T) => void;
  selection?: Selection;
}) {
  const body = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [offset, setOffset] = useState(0);
  const [focused, setFocused] = useState(0);
  useLayoutEffect(() => {
    const element = body.current;
    if (!element) return;
    const measure = () => {
      setWidth(element.clientWidth);
      setOffset(element.getBoundingClientRect().top + window.scrollY);
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    // What stands above the table may grow and shrink.
    observer.observe(document.body);
    return () => observer.disconnect();
  }, []);
  const isCards = width > 0 && width < CARDS_BELOW_PX;
  const rowPx = isCards ? CARD_PX : ROW_PX;
  const virtual = useWindowVirtualizer({ count: rows.length, estimateSize: () => rowPx, overscan: 8, scrollMargin: offset });
  useEffect(() => virtual.measure(), [virtual, rowPx]);

  const shown = useMemo(() => columns.filter((column) => (isCards ? column.card !== "none" : width === 0 || width >= (column.from ?? 0))), [columns, isCards, width]);
  const tracks = [...(selection ? ["2rem"] : []), ...shown.map((column) => column.width)].join(" ");
  const style = useMemo(() => (isCards ? undefined : ({ gridTemplateColumns: tracks } as CSSProperties)), [isCards, tracks]);
  const last = rows.length - 1;

  const go = (to: number) => {
    const target = Math.max(0, Math.min(last, to));
    setFocused(target);
    virtual.scrollToIndex(target, { align: "auto" });
    requestAnimationFrame(() => body.current?.querySelector<HTMLElement>(`[data-index="${target}"]`)?.focus());
  };
  // Rows are drawn anew when what they show changes; what they call is found here.
  const calls = useRef<Calls<T>>({ go, last, rowPx, setFocused, rowKey, onOpen, selection });
  calls.current = { go, last, rowPx, setFocused, rowKey, onOpen, selection };

  return (
    <div className={`table ${isCards ? "table-cards" : ""}`} role="table" aria-label={label} aria-rowcount={rows.length + 1}>
      <div className="table-head" role="rowgroup">
        <div className="table-row" role="row" aria-rowindex={1} style={style}>
          {selection && (
            <div role="columnheader" className="cell cell-check">
              <input type="checkbox" aria-label={t("streams.select.all")} checked={selection.all} onChange={selection.toggleAll} />
            </div>
          )}
          {shown.map((column) => (
            <Head key={column.key} column={column} sorting={sorting} onSort={onSort} isCards={isCards} />
          ))}
        </div>
      </div>
      <div ref={body} className="table-body" role="rowgroup" style={{ height: rows.length * rowPx }}>
        {virtual.getVirtualItems().map((item) => {
          const row = rows[item.index];
          if (row === undefined) return null;
          const key = rowKey(row);
          return <Row key={key} row={row} index={item.index} columns={shown} style={style} rowPx={rowPx} isEntry={item.index === Math.min(focused, last)} isSelected={selection ? selection.has(key) : null} calls={calls} />;
        })}
      </div>
    </div>
  );
}

/** What rows call, as of the last time the table was drawn. */
interface Calls<T> {
  go: (to: number) => void;
  last: number;
  rowPx: number;
  setFocused: (index: number) => void;
  rowKey: (row: T) => string;
  onOpen: ((row: T) => void) | undefined;
  selection: Selection | undefined;
}

interface RowProps<T> {
  row: T;
  index: number;
  columns: readonly Column<T>[];
  style: CSSProperties | undefined;
  rowPx: number;
  /** Whether the keyboard enters the table here. */
  isEntry: boolean;
  /** `null` where rows cannot be selected. */
  isSelected: boolean | null;
  calls: RefObject<Calls<T>>;
}

function PlainRow<T>({ row, index, columns, style, rowPx, isEntry, isSelected, calls }: RowProps<T>) {
  const { onOpen, rowKey, selection } = calls.current;
  const key = rowKey(row);
  const onKey = (event: KeyboardEvent<HTMLDivElement>) => {
    if (event.target !== event.currentTarget) return;
    const { go, last, rowPx: height, onOpen: open, selection: selected } = calls.current;
    const page = Math.max(1, Math.floor(window.innerHeight / height) - 4);
    const steps: Record<string, number> = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: last, PageDown: index + page, PageUp: index - page };
    const to = steps[event.key];
    if (to !== undefined) go(to);
    else if (event.key === "Enter" && open) open(row);
    else if (event.key === " " && selected) selected.toggle(key);
    else return;
    event.preventDefault();
  };
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      data-index={index}
      tabIndex={isEntry ? 0 : -1}
      className={`table-row ${onOpen ? "table-row-open" : ""} ${isSelected ? "table-row-selected" : ""}`}
      style={{ ...style, height: rowPx, transform: `translateY(${index * rowPx}px)` }}
      onFocus={() => calls.current.setFocused(index)}
      onKeyDown={onKey}
      onClick={(event) => {
        const isControl = (event.target as HTMLElement).closest("a, button, input");
        if (!isControl && !getSelection()?.toString()) calls.current.onOpen?.(row);
      }}
    >
      {isSelected !== null && (
        <div role="cell" className="cell cell-check">
          <input type="checkbox" tabIndex={-1} aria-label={selection?.label(key)} checked={isSelected} onChange={() => calls.current.selection?.toggle(key)} />
        </div>
      )}
      {columns.map((column) => (
        <div key={column.key} role="cell" className={`cell cell-${column.card ?? "body"} ${column.isNumber ? "cell-number" : ""}`} data-label={column.head}>
          {column.cell(row)}
        </div>
      ))}
    </div>
  );
}

/** While a table is scrolled only rows that come into sight are drawn. */
const Row = memo(PlainRow) as typeof PlainRow;

function Head<T>({ column, sorting, onSort, isCards }: { column: Column<T>; sorting: Sorting; onSort: (sorting: Sorting) => void; isCards: boolean }) {
  const isSorted = sorting.key === column.key;
  const order = isSorted ? (sorting.isDescending ? "descending" : "ascending") : undefined;
  const next = { key: column.key, isDescending: isSorted ? !sorting.isDescending : (column.largestFirst ?? false) };
  if (isCards && !column.sort) return null;
  return (
    <div role="columnheader" aria-sort={column.sort ? (order ?? "none") : undefined} className={`cell ${column.isNumber ? "cell-number" : ""}`}>
      {column.sort ? (
        <button type="button" className="sort" onClick={() => onSort(next)} title={t("sort.by", { name: column.head })}>
          <span>{column.head}</span>
          {isSorted && <Icon name={sorting.isDescending ? "down" : "up"} />}
        </button>
      ) : (
        <span className={column.head === t("col.actions") ? "visually-hidden" : ""}>{column.head}</span>
      )}
    </div>
  );
}
