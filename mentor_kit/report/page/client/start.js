"use strict";
// Reads the index and draws the place that the address names; draws again where a server has more.
(async function () {
  try {
    MentorKit.index = await MentorKit.source.index();
    await MentorKit.draw();
    MentorKit.source.watch((index) => {
      MentorKit.index = index;
      MentorKit.draw();
    }, (reached) => {
      document.getElementById("reach").hidden = reached;
    });
  } catch (error) {
    MentorKit.fail(error);
  }
})();
