/** What is to happen, in the order of its time; of equal times, in the order in which it was asked for. */
interface Event {
  readonly at: number
  readonly order: number
  readonly action: () => void
}

export class Agenda {
  readonly #heap: Event[] = []
  #order = 0

  add(at: number, action: () => void): void {
    const heap = this.#heap
    heap.push({ at, order: this.#order++, action })
    for (let i = heap.length - 1; i > 0;) {
      const parent = (i - 1) >> 1
      if (!isBefore(heap[i], heap[parent])) break
      ;[heap[i], heap[parent]] = [heap[parent], heap[i]]
      i = parent
    }
  }

  /** Takes out what is next. */
  next(): Pick<Event, 'at' | 'action'> | undefined {
    const heap = this.#heap
    const [first] = heap
    const last = heap.pop()
    if (heap.length === 0 || !last) return first
    heap[0] = last
    for (let i = 0; ;) {
      let least = i
      for (const child of [2 * i + 1, 2 * i + 2]) if (child < heap.length && isBefore(heap[child], heap[least])) least = child
      if (least === i) return first
      ;[heap[i], heap[least]] = [heap[least], heap[i]]
      i = least
    }
  }
}

const isBefore = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)
