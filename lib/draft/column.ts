/** Int32 values that grow by doubling. */
export class Column {
  values = new Int32Array(64);
  length = 0;

  push(value: number): number {
    if (this.length === this.values.length) {
      const larger = new Int32Array(2 * this.length);
      larger.set(this.values);
      this.values = larger;
    }
    this.values[this.length] = value;
    return this.length++;
  }
}
