// A fault in one page leaves the frame and the other pages usable.
import { Component, type ReactNode } from "react";
import { t } from "../messages";
import { Button, Empty } from "./parts";

export class Boundary extends Component<{ children: ReactNode }, { message: string | null }> {
  override state = { message: null };

  static getDerivedStateFromError(error: unknown) {
    return { message: error instanceof Error ? error.message : String(error) };
  }

  override render() {
    if (this.state.message === null) return this.props.children;
    return (
      <Empty title={t("page.failed")}>
        <p>{t("page.failed.text")}</p>
        <p>
          <code>{this.state.message}</code>
        </p>
        <Button onClick={() => location.reload()}>{t("page.reload")}</Button>
      </Empty>
    );
  }
}
