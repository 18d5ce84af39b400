/** Arguments of a program: `--name=value` for each, in this order; what is undefined is left out. */
export function flags(values: { readonly [name: string]: string | number | boolean | undefined }): string[] {
  return Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}=${value}`]))
}
