/** The line between two panes, which the mouse or the arrows move. */

interface Props {
  label: string;
  width: number;
  /** 1 where the pane stands left of the line, −1 where it stands right of it. */
  side: 1 | -1;
  onWidth: (width: number) => void;
}

const LEAST = 180;
const STEP = 24;

export function Splitter({ label, width, side, onWidth }: Props) {
  const set = (wished: number) => onWidth(Math.round(Math.min(Math.max(wished, LEAST), window.innerWidth - 2 * LEAST)));
  const drag = (event: PointerEvent & { currentTarget: HTMLElement }) => {
    const line = event.currentTarget;
    const from = event.clientX;
    const move = (moved: PointerEvent) => set(width + side * (moved.clientX - from));
    line.setPointerCapture(event.pointerId);
    line.addEventListener("pointermove", move);
    line.addEventListener("pointerup", () => line.removeEventListener("pointermove", move), { once: true });
    event.preventDefault();
  };
  return (
    <div class="splitter" role="separator" aria-orientation="vertical" aria-label={label} aria-valuenow={width} aria-valuemin={LEAST} tabIndex={0}
      onPointerDown={drag}
      onKeyDown={(event) => {
        const step = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key];
        if (step !== undefined) set(width + side * step);
      }} />
  );
}
