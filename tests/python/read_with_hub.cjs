// Reads the headers of a model as @huggingface/hub does on the Hub, from a local server: prints them as JSON.
//   node read_with_hub.cjs HUB_URL
const { parseSafetensorsMetadata } = require("@huggingface/hub");

parseSafetensorsMetadata({ repo: "weightfs/tiny", hubUrl: process.argv[2], computeParametersCount: true })
  .then((result) => console.log(JSON.stringify(result)))
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
