// The one way to the server: same origin, JSON, with the token where one is needed.

const KEY = "forebay-token";

/** What the server said no with; status 0: nobody answered, or what answered was no Forebay. */
export class ApiError extends Error {
  constructor(status, error, hint) {
    super(error);
    this.status = status;
    this.hint = hint ?? "";
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

async function ask(path, { patience, ...init }) {
  const headers = { accept: "application/json", "x-forebay": "page", ...init.headers };
  const secret = token.get();
  if (secret) headers.authorization = `Bearer ${secret}`;
  let answer, body;
  try {
    answer = await fetch(path, {
      ...init, headers, cache: "no-store", credentials: "omit", redirect: "error",
      signal: AbortSignal.timeout(patience),
    });
    body = await answer.text();
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new ApiError(0, late ? "the server does not answer" : "the server cannot be reached");
  }
  const said = parsed(body);
  if (!answer.ok) throw new ApiError(answer.status, said?.error ?? (body.trim() || `status ${answer.status}`), said?.hint);
  if (said === null) throw new ApiError(0, "what answers is no Forebay");
  return said;
}

/** Reads; parameters that are empty are left out. */
export function get(path, params = {}, patience = 5000) {
  const given = Object.entries(params).filter(([, value]) => value !== "" && value != null);
  const query = new URLSearchParams(given).toString();
  return ask(query ? `${path}?${query}` : path, { method: "GET", patience });
}

/** Does something. What moves messages may take its time. */
export function post(path, body) {
  const headers = { "content-type": "application/json" };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body), patience: 600_000 });
}
